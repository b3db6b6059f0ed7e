"""The run launcher: sends runs to workers, stops them, and checks that their worker is alive.

It inherits from dagster-celery's launcher and sends its tasks. That launcher queries the result
backend, which reports "started" for ever for a task whose worker was killed. This one queries the
worker that took the run.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from functools import partial
from typing import Any, Self

import dagster as dg
from celery import Celery
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.events import EngineEventData
from dagster._core.launcher import (
    CheckRunHealthResult,
    LaunchRunContext,
    ResumeRunContext,
    WorkerStatus,
)
from dagster._grpc.types import ExecuteRunArgs, ResumeRunArgs
from dagster._serdes import ConfigurableClassData, pack_value
from dagster_celery.config import TASK_EXECUTE_JOB_NAME, TASK_RESUME_JOB_NAME
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tags import DAGSTER_CELERY_QUEUE_TAG, DAGSTER_CELERY_TASK_ID_TAG
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from elt_assets.config.settings import load_settings
from elt_assets.errors import InvalidInput
from elt_assets.orchestration.jobs.sync_jobs import WORKER_TAG
from elt_assets.orchestration.workers.celery_app import app_args, prepared
from elt_assets.orchestration.workers.worker_tasks import LEFT

NOBODY = "none yet"
"""The worker of a run that waits at the broker."""

_ANSWER = 2.0
"""Seconds in which a worker answers; it does so from a process that carries out nothing."""

_MISSES = 3
"""Checks in a row that a worker must miss to count as gone: after a restart of the broker it
takes up to half a minute until it has connected again."""

_LOST = 3600.0
"""Seconds after which a run that goes on, and that no worker has taken, is sent again."""


class BrokerAway(DagsterUserCodeUnreachableError):
    """The broker does not take a run: Dagster's queue keeps it and tries again."""


class WorkerRunLauncher(CeleryRunLauncher):
    """Starts runs in workers, through the broker at ELT_ASSETS_BROKER_URL."""

    def __init__(self, inst_data: ConfigurableClassData | None = None, **arguments: Any) -> None:
        super().__init__(inst_data=inst_data, **arguments)
        prepared(self.celery, self.default_queue)
        # Of runs that are asked after: the daemon has one launcher for as long as it lives.
        self._missed: dict[str, int] = {}
        self._waiting: dict[str, float] = {}

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Nothing: settings say where the broker is."""
        return {}

    @classmethod
    def from_config_value(
        cls,
        inst_data: ConfigurableClassData,
        config_value: Mapping[str, Any],  # noqa: ARG003
    ) -> Self:
        """Made by Dagster from dagster.yaml."""
        return cls(inst_data, **app_args(load_settings()))

    def launch_run(self, context: LaunchRunContext) -> None:
        """Send a run to the workers. Raises `BrokerAway`."""
        self._send(
            context.dagster_run, TASK_EXECUTE_JOB_NAME, "execute_job_args_packed", ExecuteRunArgs
        )

    def resume_run(self, context: ResumeRunContext) -> None:
        """Send a run whose worker is gone to another one. Raises `BrokerAway`."""
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
        # No instance: a worker has its own, and need not know where ours keeps its files.
        packed = pack_value(
            kind(
                job_origin=run.job_code_origin,
                run_id=run.run_id,
                instance_ref=None,
                set_exit_code_on_failure=True,
            )
        )
        queue = run.tags.get(DAGSTER_CELERY_QUEUE_TAG, self.default_queue)
        # Noted before it is sent: a worker takes up only what is meant for it, and may be quick.
        task_id = str(uuid.uuid4())
        note = partial(self._instance.add_run_tags, run.run_id)
        note({DAGSTER_CELERY_TASK_ID_TAG: task_id, WORKER_TAG: NOBODY})
        try:
            self.celery.send_task(
                task, kwargs={parameter: packed}, task_id=task_id, queue=queue, routing_key=queue
            )
        except (OperationalError, RedisError, OSError) as error:
            # So that a run whose worker is gone goes on missing it.
            note({WORKER_TAG: run.tags.get(WORKER_TAG, NOBODY)})
            raise BrokerAway(
                f"the broker does not take runs ({type(error).__name__}): this one waits for it"
            ) from None
        self._missed.pop(run.run_id, None)
        self._waiting[run.run_id] = time.monotonic()
        self._instance.report_engine_event(
            f"Given to the workers of queue {queue}.",
            run,
            EngineEventData({"Celery task": task_id, "Queue": queue}),
            cls=self.__class__,
        )

    def terminate(self, run_id: str) -> bool:
        """Ask the run's worker to end it; a run that waits at the broker ends at once."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        self._instance.report_run_canceling(run)
        task_id = run.tags.get(DAGSTER_CELERY_TASK_ID_TAG)
        if run.tags.get(WORKER_TAG, NOBODY) in (NOBODY, LEFT):
            # Its worker would find that it has ended, and leave it alone.
            self._instance.report_run_canceled(run)
            return True
        self.celery.control.revoke(task_id, terminate=True, signal="SIGTERM")
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Whether the run's worker still works on it. Raises if the broker cannot be asked."""
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
        answers = asked(self.celery, worker, task_id)
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
        """Who works on the run, for the message of a run that failed."""
        return f"Worker: {run.tags.get(WORKER_TAG, NOBODY)}"


def asked(app: Celery, worker: str, task_id: str) -> bool | None:
    """Whether `worker` works on the task; None if it does not answer."""
    replies = app.control.inspect(destination=[worker], timeout=_ANSWER).query_task([task_id])
    if not replies or worker not in replies:
        return None
    return task_id in replies[worker]
