"""The component `elt_assets.DirectorySync`, as a project of Dagster loads it from YAML."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import dagster as dg
import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
DOCUMENT = (ROOT / "docs" / "embedding.md").read_text("utf-8").partition("## As a component")[2]
PROJECT = """
[tool.dg]
directory_type = "project"
[tool.dg.project]
root_module = "host"
"""


def loaded(folder: Path, monkeypatch: pytest.MonkeyPatch, attributes: str) -> dg.Definitions:
    """The definitions of a project whose only component has these attributes."""
    (folder / "pyproject.toml").write_text(PROJECT)
    place = folder / "host" / "defs" / "directory"
    place.mkdir(parents=True)
    for module in (folder / "host", folder / "host" / "defs"):
        (module / "__init__.py").touch()
    (place / "defs.yaml").write_text(f"type: elt_assets.DirectorySync\nattributes: {attributes}\n")
    monkeypatch.syspath_prepend(str(folder))
    for name in [name for name in sys.modules if name.partition(".")[0] == "host"]:
        monkeypatch.delitem(sys.modules, name)
    return dg.load_from_defs_folder(path_within_project=folder)


BETA = pytest.mark.filterwarnings("ignore:Parameter `execution_type`")  # Dagster's own use


@BETA
def test_the_attributes_are_the_parameters_of_build_defs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    definitions = loaded(
        tmp_path,
        monkeypatch,
        "{key_prefix: [staff], group: identity, owners: ['team:it'], streams: [users], "
        f"events: false, schedules: false, settings: {{home: {tmp_path / 'home'}}}, "
        "retry_policy: {max_retries: 7}, start_automation: true}",
    )
    graph = definitions.resolve_asset_graph()
    keys = {key.to_user_string() for key in graph.materializable_asset_keys}
    tables = {"staff/users_staging", "staff/users_cdc", "staff/users_latest"}
    assert keys == tables | {"staff/fleet_report", "staff/change_feed"}
    latest = graph.get(dg.AssetKey(["staff", "users_latest"]))
    assert (latest.group_name, list(latest.owners)) == ("identity", ["team:it"])
    policy = definitions.resolve_assets_def(latest.key).op.retry_policy
    assert policy is not None
    assert policy.max_retries == 7
    repository = definitions.get_repository_def()
    assert not repository.schedule_defs
    sensor = repository.get_sensor_def("staff_registry_sensor")
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    opened = definitions.resources or {}
    with dg.build_resources({"it": opened["elt_assets_staff"]}) as resources:
        assert resources.it.settings.home == tmp_path / "home"


@pytest.mark.parametrize(
    ("attributes", "named"),
    [
        ("{streams: [people]}", "'people' is not a stream"),
        ("{evnts: false}", "evnts"),
        ("{settings: {hom: /tmp/x}}", "ELT_ASSETS_HOM"),
    ],
)
def test_a_mistake_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attributes: str, named: str
) -> None:
    with pytest.raises(Exception, match="DirectorySync") as raised:
        loaded(tmp_path, monkeypatch, attributes).get_repository_def()
    chain: list[BaseException] = [raised.value]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    assert named in " ".join(map(str, chain))


def documented(kind: str) -> str:
    """The first block of this kind that the section about the component prints."""
    found = re.search(rf"```{kind}\n(.*?)```", DOCUMENT, re.DOTALL)
    assert found is not None
    return found[1]


class Environment:
    """An environment in which elt_assets is installed, and what a test installs besides.

    It sees the packages of the one that the tests run in, which stays as it is.
    """

    def __init__(self, folder: Path) -> None:
        venv.create(folder, symlinks=True)
        self.bin = folder / "bin"
        ours = [entry for entry in sys.path if entry.endswith("site-packages")]
        (packages,) = folder.glob("lib/python*/site-packages")
        (packages / "ours.pth").write_text(
            "".join(f"import site; site.addsitedir({entry!r})\n" for entry in [*ours, str(ROOT)])
        )
        for script in ("pip", "create-dagster", "dg"):
            text = (Path(sys.executable).parent / script).read_text()
            (self.bin / script).write_text(f"#!{self.bin}/python\n{text.partition(chr(10))[2]}")
            (self.bin / script).chmod(0o700)

    def run(self, script: str, folder: Path) -> str:
        """What the lines of a shell print, of which each must succeed."""
        done = subprocess.run(
            ["/bin/sh", "-ec", script],
            cwd=folder,
            env={
                **os.environ,
                "PATH": f"{self.bin}:/usr/bin:/bin",
                "HOME": str(folder),
                "PIP_NO_INDEX": "1",
                "PIP_NO_BUILD_ISOLATION": "0",  # which is how pip spells "no isolation"
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.mark.campaign
def test_the_documented_commands_work_from_an_empty_folder(tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    first, _, commands = documented("").partition("\n")
    needed = [Requirement(one).name for one in first.removeprefix("pip install ").split()]
    development = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]["dev"]
    assert {Requirement(one).name for one in development} >= {*needed}
    printed = Environment(tmp_path / "environment").run(commands, folder)
    assert "elt_assets.DirectorySync" in printed
    assert "All definitions loaded successfully" in printed
    (written,) = re.findall(r"writes\n`(.*?)`", DOCUMENT)
    assert "type: elt_assets.DirectorySync" in (folder / "host" / written).read_text()


@BETA
def test_the_documented_attributes_are_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attributes = documented("yaml").partition("attributes:")[2]
    definitions = loaded(tmp_path, monkeypatch, attributes)
    keys = {key.to_user_string() for key in definitions.resolve_asset_graph().get_all_asset_keys()}
    assert "directory/users_latest" in keys
