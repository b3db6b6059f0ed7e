"""A run whose server was killed ends when `dev` starts; every other run goes on."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import dagster as dg
import pytest

from elt_assets.config.settings import load_settings
from elt_assets.orchestration.instance.dead_runs import end_dead_runs
from elt_assets.orchestration.instance.opening import open_instance


@dg.job
def work() -> None: ...


@pytest.mark.parametrize(
    ("began", "ends"), [("STARTING", "FAILURE"), ("STARTED", "FAILURE"), ("CANCELING", "CANCELED")]
)
def test_only_runs_of_servers_that_are_gone_end(tmp_path: Path, began: str, ends: str) -> None:
    alone = load_settings()
    shared = [
        alone.model_copy(update={name: "postgresql://elsewhere/dagster"})
        for name in ("dagster_url", "broker_url")
    ]
    living, killed = tmp_path / "living", tmp_path / "killed"
    with (
        open_instance(alone) as instance,
        socket.socket(socket.AF_UNIX) as server,
        socket.socket(socket.AF_UNIX) as gone,
    ):
        server.bind(str(living))
        server.listen()
        gone.bind(str(killed))
        gone.close()

        def begun(tags: dict[str, str]) -> str:
            return instance.create_run_for_job(
                work, status=dg.DagsterRunStatus[began], tags=tags
            ).run_id

        def launched_by(path: Path) -> str:
            where = {"host": "localhost", "socket": str(path)}
            return begun({".dagster/grpc_info": json.dumps(where)})

        dead = [launched_by(killed), launched_by(tmp_path / "removed")]
        others = [launched_by(living), begun({})]  # the second: in the process of a command
        # Where machines share an instance, a socket that is missing here may be on another one.
        assert [end_dead_runs(instance, settings) for settings in shared] == [0, 0]
        assert {instance.get_run_by_id(one).status.name for one in dead} == {began}
        assert end_dead_runs(instance, alone) == 2
        assert {instance.get_run_by_id(one).status.name for one in dead} == {ends}
        assert {instance.get_run_by_id(one).status.name for one in others} == {began}
