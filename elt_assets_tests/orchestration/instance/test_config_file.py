"""The dagster.yaml of an installation: whose it is, and what it says."""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from elt_assets.config.settings import Settings, load_settings
from elt_assets.errors import InvalidInput
from elt_assets.orchestration.instance.config_file import shipped_config
from elt_assets.orchestration.instance.opening import dagster_home

ON_POSTGRESQL = {"dagster_url": "postgresql://elt@db.example.com/app"}
WITH_WORKERS = {**ON_POSTGRESQL, "broker_url": "rediss://queue.example.com/0"}


def written(settings: Settings) -> Path:
    return dagster_home(settings) / "dagster.yaml"


def test_a_new_installation_uses_files_and_runs_in_the_server() -> None:
    chosen = yaml.safe_load(shipped_config(load_settings()))
    assert chosen["event_log_storage"]["class"] == "PooledSqliteEventLogStorage"
    assert not {"storage", "run_launcher"} & set(chosen)


def test_settings_put_the_instance_into_postgresql_and_runs_into_workers() -> None:
    chosen = yaml.safe_load(shipped_config(load_settings(**WITH_WORKERS, max_runs=12)))
    assert "event_log_storage" not in chosen
    assert chosen["storage"]["custom"]["class"] == "SettingsPostgresStorage"
    assert chosen["run_launcher"]["class"] == "WorkerRunLauncher"
    assert chosen["run_monitoring"]["max_resume_run_attempts"] == 5
    assert chosen["concurrency"]["runs"]["max_concurrent_runs"] == 12


@pytest.mark.parametrize("asked_for", [{}, ON_POSTGRESQL, WITH_WORKERS])
def test_dagster_yaml_has_neither_addresses_nor_passwords(asked_for: dict[str, str]) -> None:
    text = shipped_config(
        load_settings(**asked_for, dagster_password={"env": "PGSECRET"}, max_runs=3)
    )
    assert "example.com" not in text
    assert "PGSECRET" not in text


def test_an_unchanged_dagster_yaml_follows_the_settings() -> None:
    written(load_settings())
    settings = load_settings(**WITH_WORKERS)
    assert written(settings).read_text("utf-8") == shipped_config(settings)


def test_a_changed_dagster_yaml_that_contradicts_the_settings_is_an_error() -> None:
    config = written(load_settings())
    config.write_text(config.read_text("utf-8").replace("max_retries: 2", "max_retries: 1"))
    before = config.read_text("utf-8")
    with pytest.raises(
        InvalidInput, match=r"lacks the section `storage` for ELT_ASSETS_DAGSTER_URL"
    ):
        dagster_home(load_settings(**ON_POSTGRESQL))
    assert config.read_text("utf-8") == before


def test_a_changed_dagster_yaml_without_the_proxys_user_is_an_error_where_it_is_asked_for() -> None:
    config = written(load_settings())
    body, _, rest = config.read_text("utf-8").partition("run_coordinator:")
    config.write_text(body + rest.partition("\n\n")[2])
    assert written(load_settings()) == config
    with pytest.raises(InvalidInput, match="`run_coordinator` for ELT_ASSETS_PROXY_USER_HEADER"):
        dagster_home(load_settings(proxy_user_header="X-User"))


def test_a_changed_dagster_yaml_that_fits_the_settings_is_kept() -> None:
    config = written(load_settings(**WITH_WORKERS))
    config.write_text(config.read_text("utf-8").replace("max_retries: 2", "max_retries: 1"))
    before = config.read_text("utf-8")
    assert written(load_settings(**WITH_WORKERS)).read_text("utf-8") == before


@pytest.mark.parametrize(
    ("asked_for", "missing"),
    [({}, "ELT_ASSETS_DAGSTER_URL"), (ON_POSTGRESQL, "ELT_ASSETS_BROKER_URL")],
)
def test_a_command_without_the_servers_settings_does_not_replace_dagster_yaml(
    asked_for: dict[str, str], missing: str
) -> None:
    before = written(load_settings(**WITH_WORKERS)).read_text("utf-8")
    with pytest.raises(InvalidInput, match=f"for {missing}, which is not set"):
        dagster_home(load_settings(**asked_for))
    assert (load_settings().dagster_path / "dagster.yaml").read_text("utf-8") == before


def test_a_dagster_home_of_a_person_must_fit_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with pytest.raises(InvalidInput, match="the section `storage`"):
        dagster_home(load_settings(**ON_POSTGRESQL))
    (tmp_path / "dagster.yaml").write_text("storage: [", "utf-8")
    with pytest.raises(InvalidInput, match="is not YAML"):
        dagster_home(load_settings(**ON_POSTGRESQL))
    (tmp_path / "dagster.yaml").write_text(shipped_config(load_settings(**ON_POSTGRESQL)), "utf-8")
    assert dagster_home(load_settings(**ON_POSTGRESQL)) == tmp_path


@pytest.mark.parametrize("module", ["elt_assets.former_event_log", "elt_assets.gone.event_log"])
def test_a_dagster_yaml_with_a_module_of_an_older_layout_is_one_clear_error(
    module: str,
) -> None:
    config = written(load_settings())
    current = "elt_assets.orchestration.instance.sqlite_event_log"
    text = config.read_text("utf-8").replace("max_retries: 2", "max_retries: 1")
    assert current in text
    config.write_text(text.replace(current, module))
    before = config.read_text("utf-8")
    with pytest.raises(InvalidInput) as refused:
        dagster_home(load_settings())
    assert f"{config} names the module {module}, which this version" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert config.read_text("utf-8") == before


def test_an_unchanged_dagster_yaml_of_an_older_layout_is_replaced() -> None:
    config = written(load_settings())
    body, stamp, _ = config.read_text("utf-8").rpartition("\n# Written by elt-assets")
    body = body.replace(
        "elt_assets.orchestration.instance.sqlite_event_log", "elt_assets.former_event_log"
    )
    digest = hashlib.sha256(body.encode()).hexdigest()[:16]
    config.write_text(
        f"{body}{stamp}, unchanged as long as this is its digest: {digest}\n", "utf-8"
    )
    assert "elt_assets.former_event_log" in config.read_text("utf-8")
    assert written(load_settings()).read_text("utf-8") == shipped_config(load_settings())


@pytest.mark.parametrize(
    ("module", "asked_for", "cure"),
    [
        ("dagster_postgres", ON_POSTGRESQL, r"pip install 'elt-assets\[postgres-instance\]'"),
        ("dagster_celery", WITH_WORKERS, r"pip install 'elt-assets\[celery\]'"),
    ],
)
def test_a_missing_extra_is_named(
    module: str, asked_for: dict[str, str], cure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        "elt_assets.orchestration.instance.config_file.find_spec",
        lambda name: None if name == module else real(name),
    )
    with pytest.raises(InvalidInput, match=cure):
        dagster_home(load_settings(**asked_for))


def test_workers_and_postgresql_are_imported_only_if_settings_need_them() -> None:
    """Each costs a command a second, and comes with an extra."""
    found = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, elt_assets.definitions, elt_assets.orchestration.instance.opening\n"
            "import elt_assets.monitoring.health_report\n"
            "import elt_assets.monitoring.configuration_check\n"
            "import elt_assets.cli.commands.server.dev, elt_assets.cli.commands.server.worker\n"
            "from elt_assets.orchestration.instance.opening import open_instance\n"
            "from elt_assets.config.settings import load_settings\n"
            "open_instance(load_settings()).dispose()\n"
            "print({name.partition('.')[0] for name in sys.modules} & {'celery', 'kombu', 'redis', "
            "'psycopg2', 'dagster_celery', 'dagster_postgres', 'dagster_k8s', 'kubernetes'})",
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    assert found.stdout == "set()\n"
