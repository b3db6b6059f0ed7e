"""What other accounts may do with the platform's files: nothing, unless a setting says so."""

from __future__ import annotations

import json
import os
import re
import resource
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from elt_assets.cli.main import Invocation, run
from elt_assets.config.settings import load_settings
from elt_assets.errors import InvalidInput
from elt_assets.storage.home import allow_open_files
from elt_assets.sync.admin.parquet_export import export
from elt_assets.sync.service import SyncService
from elt_assets_tests.sync.worlds import Company, World, people

pytestmark = pytest.mark.files


@pytest.fixture(params=[0o000, 0o022, 0o777])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """A process that was started carelessly, or too carefully."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def filled(home: Path) -> Company:
    company = Company(home)
    company.connect(world=World(people(3)))
    company.sync()
    return company


def modes(folder: Path) -> set[tuple[str, str]]:
    """(kind, mode) of everything from that folder down but the audit log's key."""
    found = [folder, *(path for path in folder.rglob("*") if path.name != "audit.key")]
    return {
        ("folder" if path.is_dir() else "file", f"{stat.S_IMODE(path.stat().st_mode):04o}")
        for path in found
    }


def permissions(capsys: pytest.CaptureFixture[str]) -> tuple[bool, str]:
    """What `config check` says of them."""
    capsys.readouterr()
    run(["config", "check", "--json"], Invocation())
    found = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    return found["permissions"]["ok"], found["permissions"]["detail"]


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize(
    ("group", "expected"),
    [
        ("none", {("folder", "0700"), ("file", "0600")}),
        ("read", {("folder", "0750"), ("file", "0640")}),
        ("write", {("folder", "0770"), ("file", "0660")}),
    ],
)
def test_files_have_the_rights_that_the_settings_say_whatever_the_umask(
    own_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    group: str,
    expected: set[tuple[str, str]],
) -> None:
    monkeypatch.setenv("ELT_ASSETS_GROUP_ACCESS", group)
    filled(own_home).platform.close()
    assert modes(own_home) == expected
    # A secret is its owner's whatever the group may do; AUDIT_KEY shares it.
    assert stat.S_IMODE((own_home / "audit.key").stat().st_mode) == 0o600
    assert permissions(capsys)[0]


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o707, 0o702])
def test_a_home_that_everybody_can_write_to_is_refused_with_the_cure(
    own_home: Path, capsys: pytest.CaptureFixture[str], mode: int
) -> None:
    own_home.mkdir()
    own_home.chmod(mode)
    with pytest.raises(InvalidInput, match="config secure, or chmod 0700"):
        SyncService.open()
    assert list(own_home.iterdir()) == []
    ok, detail = permissions(capsys)
    assert not ok
    assert f"mode {mode:04o}" in detail
    assert run(["config", "secure"], Invocation()) == 0
    assert stat.S_IMODE(own_home.stat().st_mode) == 0o700
    assert permissions(capsys)[0]


def test_a_home_that_others_can_read_is_closed(own_home: Path) -> None:
    own_home.mkdir(mode=0o755)
    filled(own_home).platform.close()
    assert stat.S_IMODE(own_home.stat().st_mode) == 0o700


def test_loose_files_of_an_earlier_release_are_found_and_closed(
    own_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled(own_home).platform.close()
    (own_home / "oltp.db").chmod(0o644)
    (own_home / "olap" / "acme").chmod(0o755)
    ok, detail = permissions(capsys)
    assert not ok
    assert "2 files and folders are open to others" in detail
    assert run(["config", "secure"], Invocation()) == 0
    assert permissions(capsys)[0]


def test_drop_folders_keep_the_rights_that_their_senders_need(
    own_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drops = own_home / "drops" / "acme" / "hr"
    drops.mkdir(parents=True)
    drops.chmod(0o2773)
    SyncService.open().close()
    assert permissions(capsys)[0]
    assert run(["config", "secure"], Invocation()) == 0
    assert stat.S_IMODE(drops.stat().st_mode) == 0o2773


def test_exports_have_the_rights_of_the_folder_they_are_written_to(
    own_home: Path, tmp_path: Path
) -> None:
    company = filled(own_home)
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o2750)
    export(company.platform, shared)
    assert modes(shared) == {("folder", "2750"), ("file", "0640")}
    export(company.platform, tmp_path / "own")
    assert modes(tmp_path / "own") == {("folder", "0700"), ("file", "0600")}
    company.platform.close()


def test_dagsters_files_are_closed_too(own_home: Path) -> None:
    from elt_assets.orchestration.instance.opening import open_instance

    before = os.umask(0)
    with open_instance(load_settings()) as instance:
        instance.get_runs_count()
    os.umask(before)
    assert modes(own_home) == {("folder", "0700"), ("file", "0600")}


@pytest.mark.usefixtures("umask")
def test_a_check_of_a_home_that_is_not_there_makes_nothing_and_finds_nothing_wrong(
    own_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["config", "check", "--json"], Invocation()) == 0
    found = {one["name"]: one for one in json.loads(capsys.readouterr().out)}
    assert all(one["ok"] for one in found.values())
    for name in ("operational database", "warehouse", "dagster"):
        assert re.search(r"is (made|created) w", found[name]["detail"])
    assert not own_home.exists()


def test_a_check_names_a_home_that_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ELT_ASSETS_HOME", str(tmp_path / "is this it?"))
    assert run(["config", "check", "--json"], Invocation()) == 1
    (found,) = json.loads(capsys.readouterr().out)
    assert "has a '?' in its path" in found["detail"]


def test_the_limit_of_open_files_is_raised_for_fetchers_and_one_that_is_too_low_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1_024, before[1]))
    try:
        allow_open_files(load_settings(home=tmp_path, fetches=150))
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (150 * 8 + 256, before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1_024, 2_048))
    with pytest.raises(InvalidInput, match="ELT_ASSETS_FETCHES is 900, which needs 2,056 open"):
        SyncService.open(load_settings(home=tmp_path, fetches=900))
