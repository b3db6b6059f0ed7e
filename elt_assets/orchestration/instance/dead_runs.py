"""Runs whose server died together with all its processes, as at a power cut.

Dagster's server reports a run whose process has died. If the server dies too, nothing reports it:
the run stays in progress, and keeps its place among the runs at once, until its time limit.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping

import dagster as dg

from elt_assets.config.settings import Settings

_SERVER_TAG = ".dagster/grpc_info"
"""The tag by which Dagster's launcher finds the server of a run, on this machine by its socket."""

_WORKED_ON = (
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)


def end_dead_runs(instance: dg.DagsterInstance, settings: Settings) -> int:
    """Report the end of every run whose server no longer answers on this machine; their number.

    Their syncs continue from the last batch, by a retry of the run or by the recovery sensor.
    Nothing ends where machines share the instance: the server of a run may be on another one.
    """
    if settings.dagster_url is not None or settings.broker_url is not None:
        return 0
    dead = [
        run
        for run in instance.get_runs(dg.RunsFilter(statuses=[*_WORKED_ON]))
        if _is_dead(run.tags)
    ]
    for run in dead:
        if run.status is dg.DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run)
        else:
            instance.report_run_failed(run, "The server of this run was killed.")
    return len(dead)


def _is_dead(tags: Mapping[str, str]) -> bool:
    path = json.loads(tags.get(_SERVER_TAG, "{}")).get("socket")
    if path is None:
        return False
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            return True
    return False
