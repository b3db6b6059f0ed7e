"""The task of a worker: carry out a run, or continue a run whose worker is gone.

The task records the worker of the run and skips a run that another worker has. dagster-celery and
Dagster execute the run.
"""

from __future__ import annotations

import logging
from typing import Any

import dagster as dg
from celery import Celery, Task
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG
from dagster_celery.tasks import create_execute_job_task, create_resume_job_task

from elt_assets.orchestration.dagster_internals import unpack_value
from elt_assets.orchestration.jobs.sync_jobs import LEFT, WORKER_TAG

_log = logging.getLogger(__name__)


class RunTask(Task):  # type: ignore[misc]
    """A task for the run that its only argument names."""

    abstract = True

    def __call__(self, *args: Any, **arguments: Any) -> Any:
        """Carry out the run, unless the run's tag names another message."""
        about: Any = unpack_value(next(iter(arguments.values())))
        if not self._taken(about.run_id):
            return 0
        try:
            return super().__call__(*args, **arguments)
        finally:
            _left(about.run_id)

    def _taken(self, run_id: str) -> bool:
        with dg.DagsterInstance.get() as instance:
            run = instance.get_run_by_id(run_id)
            if (
                run is None
                or run.is_finished
                or run.tags.get(DAGSTER_CELERY_TASK_ID_TAG) != self.request.id
            ):
                _log.info("run %s has ended or was given to another worker", run_id)
                return False
            instance.add_run_tags(run_id, {WORKER_TAG: self.request.hostname})
            return True


def _left(run_id: str) -> None:
    """Record that the run has no worker any more, unless the run has ended.

    A stopped worker lets its runs commit their current batches; another worker continues them.
    """
    with dg.DagsterInstance.get() as instance:
        run = instance.get_run_by_id(run_id)
        if run is not None and not run.is_finished:
            instance.add_run_tags(run_id, {WORKER_TAG: LEFT})


def add_tasks(app: Celery) -> Celery:
    """Add the tasks that the launcher sends to `app`."""
    options: Any = {"base": RunTask}
    create_execute_job_task(app, **options)
    create_resume_job_task(app, **options)
    return app
