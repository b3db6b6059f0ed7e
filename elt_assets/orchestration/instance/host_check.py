"""Find what the dagster.yaml of a foreign deployment lacks for our runs, and why it matters.

Our jobs' tags carry the settings that a run can bring along (`placement`). Dagster obeys some of
them only if the instance runs the daemon that reads them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from elt_assets.orchestration.names import LANE_TAG
from elt_assets.orchestration.placement import INSTALLATION_TAG


@dataclass(frozen=True, slots=True)
class InstanceSettings:
    """The settings of an instance; `runs_at_once` is None without a queue, -1 for unlimited."""

    monitors_runs: bool
    retries_runs: bool
    retries_failed_steps: bool
    runs_at_once: int | None
    tag_limits: Sequence[Mapping[str, Any]] = ()

    @property
    def own_runs_at_once(self) -> int | None:
        """How many of our runs may run at once, by all limits; None if there is no limit."""
        limits = [one["limit"] for one in self.tag_limits if one["key"] == INSTALLATION_TAG]
        if self.runs_at_once is not None and self.runs_at_once >= 0:
            limits.append(self.runs_at_once)
        return min(limits, default=None)


@dataclass(frozen=True, slots=True)
class Lack:
    """A setting that the instance lacks, why it matters, and the lines to add to dagster.yaml."""

    setting: str
    why: str
    add: str


def lacks(found: InstanceSettings, *, max_runs: int) -> list[Lack]:
    """Return what `found` lacks for runs of ours; `max_runs` is ELT_ASSETS_MAX_RUNS."""
    missing = []
    if not found.monitors_runs:
        missing.append(
            Lack(
                "run_monitoring",
                "a run whose worker was killed stays in progress for ever, because nothing reads "
                "the time limit in its tags",
                "run_monitoring: {enabled: true}",
            )
        )
    if not found.retries_runs:
        missing.append(
            Lack(
                "run_retries",
                "a run whose worker crashed is not started again; its syncs wait for the recovery "
                "sensor or the next night",
                "run_retries: {enabled: true, retry_on_asset_or_op_failure: false}",
            )
        )
    elif found.retries_failed_steps:
        missing.append(
            Lack(
                "run_retries.retry_on_asset_or_op_failure",
                'a run that "Materialize" started is repeated as a whole after its steps were '
                "retried; our jobs refuse that by a tag, runs of selected assets cannot",
                "run_retries: {enabled: true, retry_on_asset_or_op_failure: false}",
            )
        )
    if found.runs_at_once is None:
        missing.append(
            Lack(
                "run_coordinator",
                "every run starts at once: the priorities in tags have no effect, and a nightly "
                "sync of many ranges takes all memory",
                f"concurrency: {{runs: {{max_concurrent_runs: {max_runs}}}}}",
            )
        )
        return missing
    at_once = found.own_runs_at_once
    if at_once is None or at_once > max_runs:
        number = "unlimited" if at_once is None else f"{at_once:,}"
        missing.append(
            Lack(
                "concurrency.runs",
                f"runs of ours at once are {number}, ELT_ASSETS_MAX_RUNS is {max_runs:,}; each "
                "syncs many integrations at a time and needs memory for all of them",
                f"concurrency: {{runs: {{tag_concurrency_limits: [{{key: {INSTALLATION_TAG}, "
                f"limit: {max_runs}}}]}}}}",
            )
        )
    if not any(one.get("key") == LANE_TAG for one in found.tag_limits):
        missing.append(
            Lack(
                "concurrency.runs.tag_concurrency_limits",
                "`elt-assets backfill --parallel N` puts its runs into N lanes, and without a "
                "limit for each lane all of them start at once",
                f"concurrency: {{runs: {{tag_concurrency_limits: [{{key: {LANE_TAG}, "
                "value: {applyLimitPerUniqueValue: true}, limit: 1}]}}",
            )
        )
    return missing


def settings_of(instance: dg.DagsterInstance) -> InstanceSettings:
    """Read the configuration of an instance."""
    queue = instance.get_concurrency_config().run_queue_config
    return InstanceSettings(
        monitors_runs=instance.run_monitoring_enabled,
        retries_runs=instance.run_retries_enabled,
        retries_failed_steps=instance.run_retries_retry_on_asset_or_op_failure,
        runs_at_once=None if queue is None else queue.max_concurrent_runs,
        tag_limits=() if queue is None else queue.tag_concurrency_limits,
    )
