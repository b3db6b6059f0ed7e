"""The one Dagster resource of an installation: stores and engine, opened and closed once per run.

Assets, sensors and schedules get a `SyncService`, which does not know Dagster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import dagster as dg
from pydantic import Field

from elt_assets.config.settings import Settings, load_settings
from elt_assets.sync.outcome import Outcome, ProgressListener, silent
from elt_assets.sync.service import SyncService
from elt_assets.telemetry import logs


class LogLevel(StrEnum):
    """The least important log records of a run."""

    debug = "debug"
    info = "info"
    warning = "warning"
    error = "error"


PlatformResource: TypeAlias = dg.ConfigurableResource[SyncService]


def platform_resource(settings: Settings | None = None) -> PlatformResource:
    """The engine over both stores, which assets, schedules and sensors use.

    Without `settings`, each run reads those of its environment. Settings are not fields of the
    resource: a launchpad may replace any field, and so could give a run the files of another
    installation.
    """

    class Platform(dg.ConfigurableResource[SyncService]):
        """The engine over both stores of an installation."""

        log_level: LogLevel | None = Field(
            default=None,
            description="Least important log records of this run; from settings when unset.",
        )

        @contextmanager
        def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[SyncService]:
            """Open the platform for one run or one tick, and always close it."""
            chosen = settings or load_settings()
            logs.configure(chosen.log_format or "console", self.log_level or chosen.log_level)
            with SyncService.open(chosen) as opened:
                yield opened

    return Platform()


OutcomeListener = Callable[[Outcome], None]


def ignore(_: Outcome) -> None:
    """No-op callback."""


def never() -> bool:
    """The callback of a run that the caller does not stop."""
    return False


@dataclass(frozen=True, slots=True)
class RunListener:
    """Callbacks for a run in the caller's own process; no-ops for all other runs.

    `settled` gets each outcome that no retry of this run will change. Once `stopped` returns True,
    failures are not retried.
    """

    progress: ProgressListener = silent
    settled: OutcomeListener = ignore
    stopped: Callable[[], bool] = never


NO_LISTENER = RunListener()
"""The listener of a run that no caller waits for."""
