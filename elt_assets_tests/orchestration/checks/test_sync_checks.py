"""The audits as asset checks: what Dagster records and how `elt-assets check` ends."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from elt_assets.definitions import build_defs
from elt_assets.orchestration.checks.signin_checks import CHECKS
from elt_assets.orchestration.checks.sync_checks import check_job
from elt_assets.signin_events.admin import event_checks as of_events
from elt_assets.sync.admin import audit
from elt_assets_tests.cli.conftest import Command, Process
from elt_assets_tests.sync.worlds import Company, World, people

EVERY = {ask.__name__ for ask in (*audit.ERRORS, *audit.WARNINGS)} | set(CHECKS)


@pytest.fixture
def quarantined(own_home: Path) -> Path:
    """A home in which one integration waits for a decision."""
    company = Company(own_home)
    world = company.connect(world=World(people(30)))
    company.sync(sync_id="s1")
    world.records = people(10)
    company.sync(sync_id="s2")
    company.platform.close()
    return own_home


def test_every_audit_is_a_check_of_its_severity(quarantined: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        result = (
            build_defs()
            .resolve_job_def(check_job.name)
            .execute_in_process(instance=instance, raise_on_error=False)
        )
    evaluations = {e.check_name: e for e in result.get_asset_check_evaluations()}
    assert evaluations.keys() == EVERY
    assert {name for name, e in evaluations.items() if not e.passed} == {"nothing_is_quarantined"}
    failed = evaluations["nothing_is_quarantined"]
    assert failed.severity is dg.AssetCheckSeverity.ERROR
    assert failed.metadata["offending"].value == 1


def test_every_audit_of_events_is_a_check() -> None:
    assert set(CHECKS) == set(of_events.CHECKS)


def test_the_command_fails_while_a_person_must_act(quarantined: Path) -> None:
    home = {"ELT_ASSETS_HOME": str(quarantined)}
    # What a pipeline goes by is the status of a process.
    asked = Process(quarantined.parent, home)("check", "--json")
    assert asked.status == 1, asked
    results = {check["check"]: check["result"] for check in asked.document["checks"]}
    assert results == dict.fromkeys(EVERY, "passed") | {"nothing_is_quarantined": "failed"}
    elt_assets = Command(quarantined.parent, home)
    assert elt_assets("quarantine", "approve", "acme:main", "--as", "ada").status == 0
    assert elt_assets("check").status == 0
