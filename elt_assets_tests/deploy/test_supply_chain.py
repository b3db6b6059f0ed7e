"""What is built of what: pinned, listed, and nothing else in an image."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from elt_assets_tests.deploy.test_deploy import environments

ROOT = Path(__file__).parents[2]


def supply_chain(command: str) -> str:
    script = ROOT / ".ci" / "supply_chain.py"
    ran = subprocess.run(
        [sys.executable, str(script), command], capture_output=True, text=True, check=True
    )
    return ran.stdout


def test_actions_are_pinned_by_commit() -> None:
    used = [
        line.partition("uses:")[2].strip()
        for file in (ROOT / ".github" / "workflows").iterdir()
        for line in file.read_text("utf-8").splitlines()
        if "uses:" in line
    ]
    assert len(used) >= 2
    for action in used:
        assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+", action), action


def test_deployments_do_not_trust_who_writes_provider_data() -> None:
    found = {place: settings.get("ELT_ASSETS_TENANT_RULES") for place, settings in environments()}
    assert len(found) == 4
    assert set(found.values()) == {"strict"}


def test_images_can_be_pinned_to_what_their_tags_mean(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "pin-images", tmp_path / ".ci")
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    digest = "sha256:" + "a" * 64
    docker.write_text(f"#!/bin/sh\necho {digest}\n")
    docker.chmod(0o755)
    environment = {**os.environ, "PATH": f"{docker.parent}:{os.environ['PATH']}"}
    for _ in range(2):
        subprocess.run([str(tmp_path / ".ci" / "pin-images")], env=environment, check=True)
    dockerfile = (tmp_path / "deploy" / "Dockerfile").read_text("utf-8")
    assert dockerfile.count(f"FROM python:3.11-slim@{digest}") == 2
    compose = (tmp_path / "deploy" / "compose.yaml").read_text("utf-8")
    for image in ("postgres:15", "redis:7"):
        assert f"image: {image}@{digest}\n" in compose
    docker.write_text("#!/bin/sh\necho no such image\n")
    with pytest.raises(subprocess.CalledProcessError):
        subprocess.run([str(tmp_path / ".ci" / "pin-images")], env=environment, check=True)


def test_an_image_is_built_of_the_package_and_its_lock_alone() -> None:
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    kept = {rule[1:] for rule in rules if rule.startswith("!")}
    assert {"elt_assets", "pyproject.toml", "requirements.lock"} <= kept
    assert all((ROOT / name).exists() for name in kept)
    assert not kept & {".git", ".venv", ".elt_assets", "deploy"}


def test_every_dependency_states_its_licence() -> None:
    lines = supply_chain("licences").splitlines()
    assert len(lines) > 100
    assert any(re.match(r"duckdb==1\.5\.\d+  MIT", line) for line in lines)
    # Copyleft that would reach this project's own code must be somebody's decision.
    assert not [
        line
        for line in lines
        if re.search(r"\bA?GPL|General Public", line) and not re.search(r"LGPL|Lesser", line)
    ]


def test_the_bill_of_materials_holds_what_the_lock_pins() -> None:
    document = json.loads(supply_chain("sbom"))
    assert document["bomFormat"] == "CycloneDX"
    named = {component["purl"] for component in document["components"]}
    pins = re.findall(
        r"^([\w.-]+)(?:\[.*?\])?==([^\s;\\]+)", (ROOT / "requirements.lock").read_text(), re.M
    )
    assert named == {f"pkg:pypi/{name.lower()}@{version}" for name, version in pins}
    assert all(component["properties"] for component in document["components"])
