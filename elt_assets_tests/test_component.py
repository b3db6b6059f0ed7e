"""The component `elt_assets.DirectorySync`, as a project of Dagster loads it from YAML."""

from __future__ import annotations

import sys
import tomllib
from importlib import import_module
from pathlib import Path

import dagster as dg
import pytest

import elt_assets

ROOT = Path(__file__).parents[1]
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
        ("{streams: [people]}", "'people' is no stream"),
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


def test_the_commands_of_dagster_find_the_component() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module = project["entry-points"]["dagster_dg_cli.registry_modules"]["elt_assets"]
    found = import_module(module)
    # `dg` looks through the names that a module lists.
    components = {
        name
        for name in dir(found)
        if isinstance(one := getattr(found, name), type) and issubclass(one, dg.Component)
    }
    assert components == {"DirectorySync"}
    assert elt_assets.DirectorySync.__doc__
