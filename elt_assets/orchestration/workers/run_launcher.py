"""The run launcher: sends runs to workers, stops them, and checks that their worker is alive.

It extends dagster-celery's launcher, which queries the result backend: a task whose worker was
killed stays "started" there. This launcher queries the worker of the run.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from functools import partial
from typing import Any, Self

import dagster as dg
from celery import Celery
from dagster_celery.config import TASK_EXECUTE_JOB_NAME, TASK_RESUME_JOB_NAME
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tags import DAGSTER_CELERY_QUEUE_TAG, DAGSTER_CELERY_TASK_ID_TAG
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from elt_assets.config.settings import load_settings
from elt_assets.errors import InvalidInput
from elt_assets.orchestration.dagster_internals import (
    CheckRunHealthResult,
    ConfigurableClassData,
    DagsterUserCodeUnreachableError,
    EngineEventData,
    ExecuteRunArgs,
    LaunchRunContext,
    ResumeRunArgs,
    ResumeRunContext,
    WorkerStatus,
    pack_value,
)
from elt_assets.orchestration.jobs.sync_jobs import LEFT, WORKER_TAG
from elt_assets.orchestration.workers.celery_app import app_args, prepared

NOBODY = "none yet"
"""Value of the worker tag for a run that waits at the broker."""

_ANSWER = 2.0
"""Seconds in which a worker answers, from a process that carries out no run."""

_MISSES = 3
"""Consecutive checks that a worker must miss to count as gone: after a restart of the broker it
takes up to half a minute to connect again."""

_LOST = 3600.0
"""Seconds after which a run that no worker has taken is sent again."""


class BrokerAway(DagsterUserCodeUnreachableError):
    """The broker does not accept a run; Dagster's queue keeps it and tries again."""


class WorkerRunLauncher(CeleryRunLauncher):
    """Starts runs in workers, through the broker at ELT_ASSETS_BROKER_URL."""

    def __init__(self, inst_data: ConfigurableClassData | None = None, **arguments: Any) -> None:
        super().__init__(inst_data=inst_data, **arguments)
        prepared(self.celery, self.default_queue)
        # State of the health checks; the daemon has one launcher for its whole life.
        self._missed: dict[str, int] = {}
        self._waiting: dict[str, float] = {}

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """No configuration: the settings have the address of the broker."""
        return {}

    @classmethod
    def from_config_value(
        cls,
        inst_data: ConfigurableClassData,
        config_value: Mapping[str, Any],  # noqa: ARG003
    ) -> Self:
        """Called by Dagster for dagster.yaml."""
        return cls(inst_data, **app_args(load_settings()))

    def launch_run(self, context: LaunchRunContext) -> None:
        """Send a run to the workers. Raises `BrokerAway`."""
        self._send(
            context.dagster_run, TASK_EXECUTE_JOB_NAME, "execute_job_args_packed", ExecuteRunArgs
        )

    def resume_run(self, context: ResumeRunContext) -> None:
        """Send a run whose worker is gone to another worker. Raises `BrokerAway`."""
        self._send(
            context.dagster_run, TASK_RESUME_JOB_NAME, "resume_job_args_packed", ResumeRunArgs
        )

    def _send(
        self,
        run: dg.DagsterRun,
        task: str,
        parameter: str,
        kind: type[ExecuteRunArgs] | type[ResumeRunArgs],
    ) -> None:
        if run.job_code_origin is None:
            raise InvalidInput(f"run {run.run_id} has no code location: start it from a server")
        # No instance reference, because a worker opens its own instance.
        packed = pack_value(
            kind(
                job_origin=run.job_code_origin,
                run_id=run.run_id,
                instance_ref=None,
                set_exit_code_on_failure=True,
            )
        )
        queue = run.tags.get(DAGSTER_CELERY_QUEUE_TAG, self.default_queue)
        # The run is tagged before it is sent: a worker may take it at once, and checks the tag.
        task_id = str(uuid.uuid4())
        tag = partial(self._instance.add_run_tags, run.run_id)
        tag({DAGSTER_CELERY_TASK_ID_TAG: task_id, WORKER_TAG: NOBODY})
        try:
            self.celery.send_task(
                task, kwargs={parameter: packed}, task_id=task_id, queue=queue, routing_key=queue
            )
        except (OperationalError, RedisError, OSError) as error:
            # The old tag is restored, so that the health check still finds that the worker is gone.
            tag({WORKER_TAG: run.tags.get(WORKER_TAG, NOBODY)})
            raise BrokerAway(
                f"the broker does not accept runs ({type(error).__name__}); this run stays queued"
            ) from None
        self._missed.pop(run.run_id, None)
        self._waiting[run.run_id] = time.monotonic()
        self._instance.report_engine_event(
            f"Sent to the workers of queue {queue}.",
            run,
            EngineEventData({"Celery task": task_id, "Queue": queue}),
            cls=self.__class__,
        )

    def terminate(self, run_id: str) -> bool:
        """Ask the run's worker to stop it; a run that waits at the broker is canceled at once."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        self._instance.report_run_canceling(run)
        task_id = run.tags.get(DAGSTER_CELERY_TASK_ID_TAG)
        if run.tags.get(WORKER_TAG, NOBODY) in (NOBODY, LEFT):
            # A worker that takes it later finds that it has ended.
            self._instance.report_run_canceled(run)
            return True
        self.celery.control.revoke(task_id, terminate=True, signal="SIGTERM")
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Whether the run's worker still works on it. Raises if the broker does not answer."""
        worker = run.tags.get(WORKER_TAG)
        task_id = run.tags.get(DAGSTER_CELERY_TASK_ID_TAG, "")
        if worker is None:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "a command carries it out")
        if worker == NOBODY:
            since = self._waiting.setdefault(run.run_id, time.monotonic())
            if time.monotonic() - since < _LOST:
                return CheckRunHealthResult(WorkerStatus.RUNNING, "waits for a worker")
            return CheckRunHealthResult(WorkerStatus.FAILED, "the broker has lost it")
        self._waiting.pop(run.run_id, None)
        if worker == LEFT:
            return CheckRunHealthResult(WorkerStatus.FAILED, "its worker was stopped")
        answers = is_working_on(self.celery, worker, task_id)
        if answers is None:
            missed = self._missed[run.run_id] = self._missed.get(run.run_id, 0) + 1
            if missed < _MISSES:
                return CheckRunHealthResult(WorkerStatus.RUNNING, f"{worker} does not answer")
            return CheckRunHealthResult(WorkerStatus.FAILED, f"{worker} is gone")
        self._missed.pop(run.run_id, None)
        if answers:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED, f"{worker} no longer works on it")

    def get_run_worker_debug_info(
        self, run: dg.DagsterRun, include_container_logs: bool | None = True
    ) -> str | None:
        return f"Worker: {run.tags.get(WORKER_TAG, NOBODY)}"


def is_working_on(app: Celery, worker: str, task_id: str) -> bool | None:
    """Whether `worker` works on the task; None if it does not answer."""
    replies = app.control.inspect(destination=[worker], timeout=_ANSWER).query_task([task_id])
    if not replies or worker not in replies:
        return None
    return task_id in replies[worker]
