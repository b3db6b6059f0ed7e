"""A run in a worker: real PostgreSQL, real Redis, a real process with a home of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.code_pointer import CodePointer
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.launcher import LaunchRunContext, ResumeRunContext, WorkerStatus

from elt_assets.config.settings import load_settings
from elt_assets.definitions import build_defs
from elt_assets.monitoring.configuration_check import configuration
from elt_assets.orchestration.instance.opening import open_instance
from elt_assets.orchestration.jobs.sync_jobs import WORKER_TAG
from elt_assets.orchestration.partitions import add_partition_keys, partition_tags
from elt_assets.orchestration.workers.run_launcher import BrokerAway
from elt_assets_tests.testbed.distributed import Installation, installation
from elt_assets_tests.testbed.lakes import Lake
from elt_assets_tests.testbed.servers import PASSWORD, Broker


@pytest.fixture
def distributed(
    lake: Lake, broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Installation]:
    with installation(
        lake,
        broker,
        tmp_path,
        monkeypatch,
        integrations=2,
        users=60,
        pace=3,
        ELT_ASSETS_WORKER_QUEUE=f"queue-{tmp_path.name}",
    ) as found:
        yield found


@pytest.fixture
def instance(distributed: Installation) -> Iterator[dg.DagsterInstance]:
    """The instance as the daemon has it."""
    with open_instance(load_settings(home=distributed.home("server"))) as found:
        yield found


def queued(instance: dg.DagsterInstance, distributed: Installation) -> dg.DagsterRun:
    """A run over every integration, as the daemon's queue holds it."""
    refs = [*distributed.provider.worlds()]
    add_partition_keys(instance, refs)
    # Where the code is, said by the daemon's host; a worker's has no such folder.
    pointer = CodePointer.from_module("elt_assets.definitions", "defs", "/no/such/folder")
    origin = ReconstructableRepository(pointer).get_reconstructable_job("sync").get_python_origin()
    return instance.create_run_for_job(
        build_defs().resolve_job_def("sync"),
        tags=partition_tags([ref.partition_key for ref in refs]),
        job_code_origin=origin,
    )


def status(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRunStatus:
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found.status


def tags(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dict[str, str]:
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return dict(found.tags)


@pytest.mark.campaign(30)
def test_a_worker_carries_out_runs_in_its_own_home_and_cancels_them(
    distributed: Installation, instance: dg.DagsterInstance
) -> None:
    worker = distributed.worker("one", "--slots", "1")
    cancelled = queued(instance, distributed)
    instance.run_launcher.launch_run(LaunchRunContext(cancelled, workspace=None))
    distributed.until(
        lambda: (
            status(instance, cancelled) is dg.DagsterRunStatus.STARTED
            and any(row["status"] == "extracting" for row in distributed.syncs())
        ),
        worker,
    )
    assert instance.run_launcher.terminate(cancelled.run_id)
    distributed.until(lambda: status(instance, cancelled) is dg.DagsterRunStatus.CANCELED, worker)
    run = queued(instance, distributed)
    began = time.monotonic()
    instance.run_launcher.launch_run(LaunchRunContext(run, workspace=None))
    distributed.until(lambda: status(instance, run) is dg.DagsterRunStatus.SUCCESS, worker)
    print(f"run of 2 integrations through Celery: {time.monotonic() - began:.1f} s")
    assert distributed.wrong() == []
    assert tags(instance, run)[WORKER_TAG].startswith("one@")
    assert PASSWORD not in distributed.log("one")
    assert not (distributed.home("one") / "dagster" / "history").exists()
    checks = {check.name: check for check in configuration()}
    assert checks["broker"].ok
    assert "one@" in checks["broker"].detail
    assert "(1 at once)" in checks["broker"].detail
    # The home of this process is not made by looking at it.
    assert checks["dagster"].ok
    assert "PostgreSQL" in checks["dagster"].detail
    assert distributed.stop("one") == 0


@pytest.mark.campaign(30)
def test_another_worker_continues_the_run_of_a_dead_worker(
    distributed: Installation, instance: dg.DagsterInstance
) -> None:
    distributed.worker("one", "--slots", "1")
    run = queued(instance, distributed)
    launcher = instance.run_launcher
    launcher.launch_run(LaunchRunContext(run, workspace=None))
    distributed.until(lambda: status(instance, run) is dg.DagsterRunStatus.STARTED)
    distributed.kill("one")
    found = [launcher.check_run_worker_health(_now(instance, run)) for _ in range(3)]
    assert [health.status for health in found] == [
        WorkerStatus.RUNNING,
        WorkerStatus.RUNNING,
        WorkerStatus.FAILED,
    ]
    assert "is gone" in (found[-1].msg or "")
    worker = distributed.worker("two", "--slots", "1")
    launcher.resume_run(ResumeRunContext(_now(instance, run), workspace=None))
    distributed.until(lambda: status(instance, run) is dg.DagsterRunStatus.SUCCESS, worker)
    assert distributed.wrong() == []
    assert tags(instance, run)[WORKER_TAG].startswith("two@")


def test_while_the_broker_is_away_a_run_stays_in_the_queue(
    distributed: Installation,
    instance: dg.DagsterInstance,
    broker: Broker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = queued(instance, distributed)
    broker.stop()
    try:
        with pytest.raises(BrokerAway, match="this run stays queued"):
            instance.run_launcher.launch_run(LaunchRunContext(run, workspace=None))
        broken = {check.name: check.detail for check in configuration() if not check.ok}
    finally:
        broker.start()
    assert [*broken] == ["broker"]
    assert "ELT_ASSETS_BROKER_URL" in broken["broker"]
    monkeypatch.setenv("ELT_ASSETS_TEST_PASSWORD", "another")
    refused = {check.name: check.detail for check in configuration() if not check.ok}
    assert "password" in refused["dagster"]
    assert "password" in refused["broker"]
    assert all(len(detail.splitlines()) == 1 for detail in refused.values())


def test_a_run_without_a_worker_ends_at_once_when_it_is_canceled(
    distributed: Installation, instance: dg.DagsterInstance
) -> None:
    run = queued(instance, distributed)
    instance.run_launcher.launch_run(LaunchRunContext(run, workspace=None))
    assert instance.run_launcher.terminate(run.run_id)
    assert status(instance, run) is dg.DagsterRunStatus.CANCELED
    assert not instance.run_launcher.terminate(run.run_id)


def _now(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRun:
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found
