"""DAGSTER_HOME and the settings we ship."""

from __future__ import annotations

from pathlib import Path

import pytest

from elt_assets.config.settings import load_settings
from elt_assets.errors import InvalidInput
from elt_assets.orchestration.instance.config_file import shipped_config
from elt_assets.orchestration.instance.opening import dagster_home, open_instance


def test_a_new_installation_gets_our_dagster_yaml(own_home: Path) -> None:
    home = dagster_home(load_settings())
    assert home == own_home / "dagster"
    assert (home / "dagster.yaml").read_text("utf-8") == shipped_config(load_settings())
    assert own_home.stat().st_mode & 0o777 == 0o700


def test_a_changed_dagster_yaml_is_left_alone() -> None:
    config = dagster_home(load_settings()) / "dagster.yaml"
    config.write_text("telemetry: {enabled: true}\n", "utf-8")
    dagster_home(load_settings())
    assert config.read_text("utf-8") == "telemetry: {enabled: true}\n"


def test_the_dagster_home_variable_is_used_and_its_folder_not_changed(
    tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(theirs))
    assert dagster_home(load_settings()) == theirs
    assert not list(theirs.iterdir())
    assert not own_home.exists()


@pytest.mark.parametrize("value", ["relative", "/no/such/folder"])
def test_an_unusable_dagster_home_is_named(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", value)
    with pytest.raises(InvalidInput, match=f"DAGSTER_HOME is '{value}'"):
        dagster_home(load_settings())


def test_dagster_accepts_and_follows_the_settings_we_ship() -> None:
    with open_instance(load_settings()) as instance:
        assert instance.is_persistent
        assert not instance.telemetry_enabled
        assert not instance.nux_enabled
        assert instance.run_monitoring_enabled
        assert instance.run_monitoring_max_resume_run_attempts == 0
        assert instance.run_retries_enabled
        assert not instance.run_retries_retry_on_asset_or_op_failure
        queue = instance.get_concurrency_config().run_queue_config
        assert queue is not None
        assert queue.max_concurrent_runs == 2


def test_commands_and_servers_see_the_same_instance() -> None:
    with open_instance(load_settings()) as command:
        command.add_dynamic_partitions("connected_integrations", ["acme:okta"])
    with open_instance(load_settings()) as another:
        assert another.get_dynamic_partitions("connected_integrations") == ["acme:okta"]
