"""What is in deploy/, against the schemas and the programs it is for; nothing is run here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from dagster._config import process_config
from dagster._core.run_coordinator import QueuedRunCoordinator
from pydantic import BaseModel, ConfigDict

from elt_assets.cli.main import COMMANDS
from elt_assets.config.settings import Settings, load_settings

DEPLOY = Path(__file__).parents[2] / "deploy"
KUBERNETES = "1.34"


def manifests() -> list[dict[str, Any]]:
    return [*yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text("utf-8"))]


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
    return found


def values() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "helm-values.yaml").read_text("utf-8"))
    return found


def environments() -> Iterator[tuple[str, dict[str, str]]]:
    """Every set of our settings, by where it stands."""
    for name in ("server", "worker"):
        yield f"compose {name}", compose()["services"][name]["environment"]
    yield "kubernetes", next(m for m in manifests() if m["kind"] == "ConfigMap")["data"]
    [deployment] = values()["dagster-user-deployments"]["deployments"]
    yield "helm", {entry["name"]: entry["value"] for entry in deployment["env"]}


def containers() -> Iterator[dict[str, Any]]:
    for manifest in manifests():
        if manifest["kind"] == "Deployment":
            yield from manifest["spec"]["template"]["spec"]["containers"]


def snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def renamed(chart: dict[str, Any], *kept: str) -> dict[str, Any]:
    """What the chart writes into Dagster's own configuration of these values."""
    return {snake(name): value for name, value in chart.items() if name not in kept}


@pytest.mark.parametrize(
    "manifest", manifests(), ids=lambda m: f"{m['kind']} {m['metadata']['name']}"
)
def test_manifests_are_what_kubernetes_takes(manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def test_the_schemas_refuse_a_manifest_with_a_mistake() -> None:
    mistaken = next(m for m in manifests() if m["kind"] == "Deployment")
    mistaken["spec"]["template"]["spec"]["containers"][0]["comand"] = ["elt-assets"]
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(mistaken, KUBERNETES, strict=True)


@pytest.mark.parametrize(
    ("where", "environment"), [*environments()], ids=lambda one: one if isinstance(one, str) else ""
)
def test_every_setting_named_exists_and_all_of_them_together_are_valid(
    where: str, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = {name: value for name, value in environment.items() if name.startswith("ELT_ASSETS_")}
    known = {f"ELT_ASSETS_{name.upper()}" for name in Settings.model_fields}
    assert not ours.keys() - known
    for name, value in ours.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert settings.operational_address is not None
    assert settings.warehouse_address is not None
    assert (settings.broker_url is None) == (where == "helm")


@pytest.mark.parametrize(("where", "environment"), [*environments()])
def test_containers_share_the_key_of_the_audit_log(where: str, environment: dict[str, str]) -> None:
    kind, _, place = environment["ELT_ASSETS_AUDIT_KEY"].partition(":")
    if kind == "env":
        assert where.startswith("compose")
        assert f" {place};" in (DEPLOY / "compose.yaml").read_text("utf-8"), "how it is made"
    else:
        assert place == "/run/secrets/elt-assets/audit-key"


def test_no_home_is_a_folder_that_everybody_can_write_to() -> None:
    """As a volume of Kubernetes' own is; the platform refuses it as its home."""
    [(_, environment)] = [one for one in environments() if one[0] == "kubernetes"]
    for container in containers():
        places = {mount["mountPath"] for mount in container["volumeMounts"]}
        home = Path(environment["ELT_ASSETS_HOME"])
        assert str(home) not in places
        assert str(home.parent) in places
    assert environment["ELT_ASSETS_GROUP_ACCESS"] == "write", "the volume belongs to a group"


def test_what_containers_run_are_our_commands_and_their_options() -> None:
    from click import Context

    from elt_assets.cli.main import cli

    commands = [container["command"] for container in containers()]
    commands += [compose()["services"][name]["command"] for name in ("server", "worker")]
    [line] = re.findall(r"^CMD (\[.*\])$", (DEPLOY / "Dockerfile").read_text("utf-8"), re.M)
    commands.append(yaml.safe_load(line))
    for program, name, *options in commands:
        assert program == "elt-assets"
        assert name in COMMANDS
        command = cli.get_command(Context(cli), name)
        assert command is not None
        command.make_context(name, [*options], resilient_parsing=False)


def test_images_are_one_and_the_same_and_of_this_version() -> None:
    from importlib.metadata import version

    wanted = f"elt-assets:{version('elt-assets')}"
    [deployment] = values()["dagster-user-deployments"]["deployments"]
    found = {container["image"] for container in containers()}
    found |= {compose()["services"][name]["image"] for name in ("server", "worker")}
    found.add(f"{deployment['image']['repository']}:{deployment['image']['tag']}")
    assert found == {wanted}


def test_secrets_are_mounted_where_settings_look_for_them() -> None:
    for container in containers():
        [place] = [m["mountPath"] for m in container["volumeMounts"] if m["name"] == "secrets"]
        for where, environment in environments():
            for value in environment.values():
                if where != "kubernetes" or not value.startswith("file:"):
                    continue
                assert value.removeprefix("file:").startswith(f"{place}/")


class _Closed(BaseModel):
    """Part of the chart's values; the chart refuses names that it does not know."""

    model_config = ConfigDict(extra="forbid")


class _Deployment(_Closed):
    name: str
    image: dict[str, str]
    dagsterApiGrpcArgs: list[str]
    port: int
    includeConfigInLaunchedRuns: dict[str, bool]
    env: list[dict[str, str]]
    volumes: list[dict[str, Any]]
    volumeMounts: list[dict[str, Any]]
    resources: dict[str, Any]


def test_the_charts_values_are_what_dagster_and_kubernetes_take() -> None:
    # Imported here, because Kubernetes' client takes seconds.
    from dagster_k8s import K8sRunLauncher

    found = values()
    launcher = found["runLauncher"]
    assert launcher["type"] == "K8sRunLauncher"
    chosen = renamed(launcher["config"]["k8sRunLauncher"])
    chosen["run_k8s_config"] = renamed(chosen["run_k8s_config"])
    # The chart adds these by itself.
    chosen |= {"service_account_name": "dagster", "dagster_home": "/opt/dagster"}
    chosen |= {"instance_config_map": "instance", "postgres_password_secret": "postgresql"}
    result = process_config(K8sRunLauncher.config_type(), chosen)
    assert result.success, result.errors
    daemon = found["dagsterDaemon"]
    queue = renamed(daemon["runCoordinator"]["config"]["queuedRunCoordinator"])
    result = process_config(QueuedRunCoordinator.config_type(), queue)
    assert result.success, result.errors
    for section in ("runMonitoring", "runRetries"):
        assert daemon[section]["enabled"] is True
    [deployment] = [
        _Deployment.model_validate(one) for one in found["dagster-user-deployments"]["deployments"]
    ]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": deployment.name},
        "spec": {
            "containers": [
                {
                    "name": "code",
                    "image": "elt-assets",
                    "env": deployment.env,
                    "volumeMounts": deployment.volumeMounts,
                    "resources": deployment.resources,
                }
            ],
            "volumes": deployment.volumes,
            **launcher["config"]["k8sRunLauncher"]["runK8sConfig"]["podSpecConfig"],
        },
    }
    kubernetes_validate.validate(pod, KUBERNETES, strict=True)
    assert deployment.dagsterApiGrpcArgs == ["-m", "elt_assets.definitions"]


def test_compose_files_have_what_compose_knows() -> None:
    known = {
        "image", "command", "environment", "env_file", "volumes", "ports", "depends_on", "init",
        "stop_grace_period", "restart", "healthcheck",
    }  # fmt: skip
    document = compose()
    named = {name for name in document if not name.startswith("x-")}
    assert named == {"services", "volumes"}
    for service in document["services"].values():
        assert not service.keys() - known
        for volume in service.get("volumes", []):
            assert volume.partition(":")[0] in document["volumes"]
        for needed in service.get("depends_on", {}):
            assert needed in document["services"]
