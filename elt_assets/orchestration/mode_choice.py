"""The choice of a run's mode in its configuration, which clients check without Dagster."""

from __future__ import annotations

from enum import StrEnum

from elt_assets.sync.outcome import Mode


class ModeChoice(StrEnum):
    """How much of each integration a run reads."""

    configured = "configured"
    full = Mode.FULL.value
    incremental = Mode.INCREMENTAL.value

    @property
    def mode(self) -> Mode | None:
        """The mode for the engine; None leaves it to each integration's configuration."""
        return None if self is ModeChoice.configured else Mode(self.value)
