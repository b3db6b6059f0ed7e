"""The time budget of a run: until when it may start integrations, and the tags for the rest.

`sensors.recovery_sensor` starts runs for integrations that the budget left over.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import dagster as dg

from elt_assets.config.settings import Settings
from elt_assets.errors import InvalidInput

RUN_BUDGET_TAG = "elt_assets/run_budget"
"""Run tag: seconds in which the run may start integrations, in place of the setting."""
NO_BUDGET = "none"
"""The value of that tag for a run without a budget."""
HANDED_ON_TAG = "elt_assets/handed_on"
"""Run tag: some integrations of the run were not started, and another run must start them."""
CONTINUES_TAG = "elt_assets/continues"
"""Run tag: the run whose remaining integrations this run takes over."""


class RunTime:
    """The time budget of one run, which continues while a step is retried."""

    def __init__(
        self, started_at: float, budget: float | None, clock: Callable[[], float] = time.time
    ) -> None:
        self._until = None if budget is None else started_at + budget
        self._clock = clock

    @property
    def is_over(self) -> bool:
        """Whether no further integration may start."""
        return self._until is not None and self._clock() >= self._until

    def remains(self) -> bool:
        """Whether another integration may start."""
        return not self.is_over


def run_time(context: dg.AssetExecutionContext, settings: Settings) -> RunTime:
    """The time budget of the current run. Raises `InvalidInput` for an invalid tag."""
    budget = budget_of(context.run, settings)
    if budget is None:
        return RunTime(0.0, None)
    record = context.instance.get_run_record_by_id(context.run.run_id)
    started_at = None if record is None else record.start_time
    return RunTime(time.time() if started_at is None else started_at, budget)


def budget_of(run: dg.DagsterRun, settings: Settings) -> float | None:
    """Seconds in which the run may start integrations; None for no limit."""
    tag = run.tags.get(RUN_BUDGET_TAG)
    if tag is None:
        return settings.run_budget
    if tag == NO_BUDGET:
        return None
    try:
        budget = float(tag)
    except ValueError:
        budget = 0.0
    if not 0 < budget < float("inf"):
        raise InvalidInput(
            f"run tag {RUN_BUDGET_TAG} is {tag!r}: give a number of seconds, or {NO_BUDGET!r}"
        )
    return budget
