"""What an interruption does to a step whose policy would retry it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

PROGRAM = """
import sys
import dagster as dg
from elt_assets.orchestration.assets.step_retries import ended_by_interruption

@dg.op(retry_policy=dg.RetryPolicy(max_retries=3))
def step(context):
    # Kubernetes and workers resume runs; a launcher of either needs a cluster.
    context.instance.run_will_resume = lambda run_id: sys.argv[2] == "resumes"
    with ended_by_interruption(context):
        raise dg.DagsterExecutionInterruptedError

@dg.job
def job():
    step()

with dg.DagsterInstance.from_config(sys.argv[1]) as instance:
    sys.exit(0 if job.execute_in_process(instance=instance, raise_on_error=False).success else 1)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "status", "run_is"),
    [
        ("resumes", 75, dg.DagsterRunStatus.STARTED),
        ("cannot", 1, dg.DagsterRunStatus.FAILURE),
    ],
)
def test_an_interrupted_run_is_left_to_the_launcher_that_resumes_it(
    tmp_path: Path, launcher: str, status: int, run_is: dg.DagsterRunStatus
) -> None:
    (tmp_path / "dagster.yaml").touch()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), launcher], capture_output=True, check=False
    )
    assert done.returncode == status, done.stderr
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        (run,) = instance.get_runs()
        assert run.status is run_is
        kinds = [entry.dagster_event_type for entry in instance.all_logs(run.run_id)]
    assert dg.DagsterEventType.STEP_UP_FOR_RETRY not in kinds
    failed = dg.DagsterEventType.STEP_FAILURE in kinds
    assert failed is (run_is is dg.DagsterRunStatus.FAILURE)
