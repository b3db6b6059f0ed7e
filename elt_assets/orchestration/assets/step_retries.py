"""Retries of steps: whether Dagster's policy retries a failure, and what an interruption does.

A policy retries an interrupted step too, even in a run that a person terminates. This module is the
only place that decides otherwise.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from elt_assets.orchestration.jobs.sync_jobs import LEFT, WORKER_TAG

Context = dg.OpExecutionContext | dg.AssetExecutionContext | dg.AssetCheckExecutionContext

REPORT_RETRIES = dg.RetryPolicy(
    max_retries=2, delay=1.0, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS
)
"""The retries of a step that reads the stores and reports: another process may hold a lock."""

_TERMINATED = (dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.CANCELED)

_INTERRUPTED = 75
"""Exit status of a process whose run another process continues (EX_TEMPFAIL)."""


def is_retried(context: Context) -> bool:
    """Whether the policy of the step allows another attempt after this one."""
    policy = context.get_step_execution_context().op_retry_policy
    return policy is not None and context.retry_number < policy.max_retries


@contextmanager
def ended_by_interruption(context: Context) -> Iterator[None]:
    """End the step if it is interrupted in the block, so that its policy does not retry it.

    A run that a person terminates then ends as canceled.
    """
    try:
        yield
    except (dg.DagsterExecutionInterruptedError, KeyboardInterrupt) as interruption:
        run = context.instance.get_run_by_id(context.run.run_id)
        terminated = run is None or run.status in _TERMINATED
        if not terminated and context.instance.run_will_resume(context.run.run_id):
            # The launcher continues the run in another process if this one is gone. A failure would
            # end the run, and the policy would start the step again in a process that must end.
            context.log.warning("interrupted; the run launcher continues this run elsewhere")
            if run is not None and WORKER_TAG in run.tags:
                # This process ends before the worker's task could record it.
                context.instance.add_run_tags(run.run_id, {WORKER_TAG: LEFT})
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(_INTERRUPTED)
        raise dg.Failure(
            "interrupted; what is committed is kept, and the next sync continues from there",
            allow_retries=False,
        ) from interruption
