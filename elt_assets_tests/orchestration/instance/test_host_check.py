"""What another owner's dagster.yaml lacks for our runs, and that the shipped one lacks nothing."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from elt_assets.config.settings import load_settings
from elt_assets.definitions import build_defs
from elt_assets.orchestration.instance.host_check import lacks, settings_of
from elt_assets.orchestration.instance.opening import open_instance
from elt_assets_tests.cli.conftest import Command


def lacking(folder: Path, text: str, max_runs: int = 2) -> list[str]:
    folder.mkdir()
    (folder / "dagster.yaml").write_text(text)
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        return [one.setting for one in lacks(settings_of(instance), max_runs=max_runs)]


RETRIES = "run_retries: {enabled: true, retry_on_asset_or_op_failure: false}\n"
LANES = "{key: elt_assets/lane, value: {applyLimitPerUniqueValue: true}, limit: 1}"


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        (
            "",
            [
                "run_monitoring",
                "run_retries",
                "concurrency.runs",
                "concurrency.runs.tag_concurrency_limits",
            ],
        ),
        (
            "run_monitoring: {enabled: true}\nrun_retries: {enabled: true}\n"
            f"concurrency: {{runs: {{max_concurrent_runs: 2, tag_concurrency_limits: [{LANES}]}}}}",
            ["run_retries.retry_on_asset_or_op_failure"],
        ),
        (
            f"run_monitoring: {{enabled: true}}\n{RETRIES}"
            "concurrency: {runs: {max_concurrent_runs: 50, tag_concurrency_limits: "
            f"[{LANES}, {{key: elt_assets/installation, limit: 2}}]}}}}",
            [],
        ),
        (
            f"run_monitoring: {{enabled: true}}\n{RETRIES}"
            "run_coordinator: {module: dagster.core.run_coordinator, class: DefaultRunCoordinator}",
            ["run_coordinator"],
        ),
    ],
)
def test_each_missing_setting_is_named(tmp_path: Path, text: str, missing: list[str]) -> None:
    assert lacking(tmp_path / "host", text) == missing


def test_what_the_check_says_to_add_is_enough(tmp_path: Path) -> None:
    """Each line is valid as it stands, and the section of its own is no longer missing."""
    with dg.DagsterInstance.from_config(str(_folder(tmp_path / "plain", ""))) as instance:
        found = lacks(settings_of(instance), max_runs=2)
    for number, one in enumerate(found):
        assert one.setting not in lacking(tmp_path / str(number), one.add), one.add


def _folder(folder: Path, text: str) -> Path:
    folder.mkdir()
    (folder / "dagster.yaml").write_text(text)
    return folder


def test_the_shipped_file_lacks_nothing(own_home: Path) -> None:
    settings = load_settings()
    with open_instance(settings) as instance:
        assert lacks(settings_of(instance), max_runs=settings.max_runs) == []


def test_the_command_says_why_and_what_to_add(own_home: Path, tmp_path: Path) -> None:
    host = _folder(tmp_path / "host", "")
    command = Command(tmp_path, {"ELT_ASSETS_HOME": str(own_home), "DAGSTER_HOME": str(host)})
    found = command("config", "check", "--instance", "--json")
    assert found.status == 1
    monitoring = found.document[0]
    assert monitoring["setting"] == "run_monitoring"
    assert "stays in progress for ever" in monitoring["why"]
    assert monitoring["add"] == "run_monitoring: {enabled: true}"
    alone = Command(tmp_path, {"ELT_ASSETS_HOME": str(own_home)})("config", "check", "--instance")
    assert (alone.status, "lacks nothing" in alone.err) == (0, True)


def test_runs_of_our_jobs_bring_their_settings_along() -> None:
    definitions = build_defs()
    for job in definitions.jobs or ():
        tags = definitions.resolve_job_def(job.name).run_tags
        assert tags["dagster/max_runtime"] == "21600"
        assert tags["dagster/retry_on_asset_or_op_failure"] == "false"
        # A person repeats a decision that failed.
        assert tags["dagster/max_retries"] == ("0" if job.name == "decide_quarantine" else "2")
