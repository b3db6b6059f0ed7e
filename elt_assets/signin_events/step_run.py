"""The context in which a step of the pipeline runs."""

from __future__ import annotations

from dataclasses import dataclass, field

from elt_assets.signin_events.interruption import Interruption
from elt_assets.signin_events.progress_meter import ProgressMeter
from elt_assets.signin_events.results import EventListener, unheard


@dataclass(frozen=True, slots=True)
class StepRun:
    """The run that a step belongs to, the listener to its progress, and what can interrupt it."""

    run_id: str | None = None
    progress: EventListener = unheard
    stop: Interruption = field(default_factory=Interruption)

    def meter(self, step: str, subject: str) -> ProgressMeter:
        """A meter of the step's progress on an integration, a file or a day."""
        return ProgressMeter(step, subject, self.progress)
