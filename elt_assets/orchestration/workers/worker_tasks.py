"""The task of a worker: carry out a run, or continue one whose worker is gone.

It records which worker carries out a run, and leaves a run alone that another worker has.
dagster-celery and Dagster execute the run.
"""

from __future__ import annotations

import logging
from typing import Any

import dagster as dg
from celery import Celery, Task
from dagster._serdes import unpack_value
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG
from dagster_celery.tasks import create_execute_job_task, create_resume_job_task

from elt_assets.orchestration.jobs.sync_jobs import WORKER_TAG

LEFT = "none any more"
"""The worker of a run whose worker was stopped in the middle of it."""

_log = logging.getLogger(__name__)


class RunTask(Task):  # type: ignore[misc]
    """A task about a run, which is named inside its only argument."""

    abstract = True

    def __call__(self, *args: Any, **arguments: Any) -> Any:
        """Carry the run out, unless this message is not (any longer) the one that starts it."""
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
    """Say that nobody works on the run any more, unless it has ended.

    A worker that is stopped lets its runs commit what is under way. They have not ended then,
    and another worker is to go on with them soon.
    """
    with dg.DagsterInstance.get() as instance:
        run = instance.get_run_by_id(run_id)
        if run is not None and not run.is_finished:
            instance.add_run_tags(run_id, {WORKER_TAG: LEFT})


def add_tasks(app: Celery) -> Celery:
    """Give `app` the tasks that the launcher sends."""
    options: Any = {"base": RunTask}
    create_execute_job_task(app, **options)
    create_resume_job_task(app, **options)
    return app
