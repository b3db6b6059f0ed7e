"""The sample code location in `examples/embedded`, in an instance with a plain dagster.yaml."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import dagster as dg
import pytest

import elt_assets
from elt_assets_tests.testbed.fleet import QUIET, TOKEN, Directory, person

EXAMPLE = Path(__file__).parents[2] / "examples" / "embedded" / "definitions.py"
SEATS = dg.AssetKey("seats")
TABLES = [f"directory/users_{stage}" for stage in ("staging", "cdc", "latest")]
SELECTED = " or ".join(f'key:"{key}"' for key in TABLES)


@dataclass
class Host:
    """The deployment of the sample's company."""

    definitions: dg.Definitions
    instance: dg.DagsterInstance
    directory: Directory
    key: str

    def run(self, job: str, **more: str) -> str:
        result = self.definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance, run_config=QUIET, **more
        )
        assert result.success
        return result.run_id


@contextmanager
def served() -> Iterator[Directory]:
    with Directory() as directory:
        thread = threading.Thread(target=directory.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield directory
        finally:
            directory.shutdown()
            thread.join()


@pytest.fixture
def host(own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    monkeypatch.setenv("DIRECTORY_TOKEN", TOKEN)
    home = tmp_path / "host"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    ref = elt_assets.IntegrationRef("acme", "okta")
    with served() as directory, dg.DagsterInstance.from_config(str(home)) as instance:
        directory.people["okta"] = [person(n) for n in range(3)]
        with elt_assets.SyncService.open() as platform:
            platform.registry.add(ref, "rest", directory.provider_data("okta"))
        spec = spec_from_file_location("embedded_example", EXAMPLE)
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        yield Host(module.defs, instance, directory, ref.partition_key)


def tick(host: Host, sensor: str) -> list[dg.RunRequest]:
    """Evaluate a sensor as the daemon does, and add the partitions that it requests."""
    repository = host.definitions.get_repository_def()
    with dg.build_sensor_context(
        instance=host.instance,
        repository_def=repository,
        resources=dict(host.definitions.resources or {}),
    ) as context:
        found = repository.get_sensor_def(sensor).evaluate_tick(context)
    for request in found.dynamic_partitions_requests or ():
        host.instance.add_dynamic_partitions(
            request.partitions_def_name, list(request.partition_keys)
        )
    return list(found.run_requests or ())


@pytest.mark.filterwarnings("ignore:Parameter `include_sources`")  # Dagster's own use of its beta
def test_the_asset_of_the_host_follows_each_sync(host: Host) -> None:
    (request,) = tick(host, "directory_registry_sensor")
    assert request.job_name == "directory_sync"
    before = dg.evaluate_automation_conditions(host.definitions, host.instance)
    assert before.get_num_requested(SEATS) == 0, "nothing has been synced"
    host.run("directory_sync", partition_key=host.key)
    after = dg.evaluate_automation_conditions(host.definitions, host.instance, cursor=before.cursor)
    assert after.get_requested_partitions(SEATS) == {host.key}
    result = host.definitions.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=host.instance,
        asset_selection=[SEATS],
        partition_key=host.key,
        run_config=QUIET,
    )
    (event,) = result.asset_materializations_for_node("seats")
    assert event.metadata["seats"].value == 3


def test_runs_of_the_host_survive_maintenance(host: Host) -> None:
    tick(host, "directory_registry_sensor")
    kept, gone = host.run("sync"), host.run("directory_sync", partition_key=host.key)
    long_ago = datetime.now(UTC).replace(tzinfo=None) - timedelta(days=400)
    with host.instance.run_storage.connect() as connection:  # type: ignore[attr-defined]
        connection.exec_driver_sql("UPDATE runs SET create_timestamp = ?", (str(long_ago),))
    done = host.run("directory_maintenance")
    assert {run.run_id for run in host.instance.get_runs()} == {kept, done}
    assert gone not in {kept, done}


@pytest.mark.slow
def test_dagsters_own_command_materializes_with_the_executor_of_the_host(
    host: Host, own_home: Path
) -> None:
    tick(host, "directory_registry_sensor")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "dagster", "asset", "materialize", "-f", str(EXAMPLE)),
            *("--select", SELECTED),
            *("--partition", host.key),
        ],
        env={**os.environ, "DAGSTER_HOME": host.instance.root_directory},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "multiprocess executor" in done.stdout + done.stderr, done.stderr[-3000:]
    with elt_assets.SyncService.open() as platform:
        ref = elt_assets.IntegrationRef.parse(host.key)
        assert len(platform.records(elt_assets.STREAMS["users"], ref)) == 3


def test_what_is_public_is_there_and_importing_it_is_cheap() -> None:
    assert all(getattr(elt_assets, name) for name in elt_assets.__all__)
    code = "import sys, elt_assets; print([m for m in ('dagster', 'duckdb') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
