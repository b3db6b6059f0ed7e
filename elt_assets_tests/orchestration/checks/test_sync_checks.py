"""The audits as asset checks: what Dagster records and how `elt-assets check` ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import urllib3

from elt_assets.definitions import build_defs
from elt_assets.identifiers import IntegrationRef
from elt_assets.orchestration.assets.table_specs import asset_key
from elt_assets.orchestration.checks.signin_checks import CHECKS
from elt_assets.orchestration.checks.sync_checks import check_job
from elt_assets.orchestration.partitions import partition_tags
from elt_assets.signin_events.admin import event_checks as of_events
from elt_assets.sync.admin import standing_checks
from elt_assets.sync.outcome import Stage
from elt_assets.sync.streams import USERS
from elt_assets_tests.cli.conftest import Command, Process
from elt_assets_tests.sync.worlds import Company, World, people
from elt_assets_tests.testbed.fleet import QUIET, opened_fleet
from elt_assets_tests.testbed.web_server import web_server

EVERY = {ask.__name__ for ask in (*standing_checks.ERRORS, *standing_checks.WARNINGS)} | set(CHECKS)


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
            .resolve_job_def(check_job().name)
            .execute_in_process(instance=instance, raise_on_error=False)
        )
    evaluations = {e.check_name: e for e in result.get_asset_check_evaluations()}
    assert evaluations.keys() == EVERY
    assert {name for name, e in evaluations.items() if not e.passed} == {"nothing_is_quarantined"}
    failed = evaluations["nothing_is_quarantined"]
    assert failed.severity is dg.AssetCheckSeverity.ERROR
    assert failed.metadata["offending"].value == 1


def test_every_quarantined_partition_is_named(own_home: Path) -> None:
    company = Company(own_home)
    refs = [IntegrationRef("acme", f"dir-{n:02}") for n in range(12)]
    for ref in refs:
        world = company.connect(ref, World(people(30)))
        company.sync(ref, sync_id="s1")
        world.records = people(10)
        company.sync(ref, sync_id="s2")
    found = standing_checks.nothing_is_quarantined(company.platform, USERS)
    company.platform.close()
    assert found.offending == 12
    named = {line.partition(": 20 deletes wait for a decision")[0] for line in found.sample}
    assert named == {str(ref) for ref in refs}


def shown(url: str) -> dict[str, str]:
    """What the web UI shows of each check of users."""
    query = """{
      assetNodes(assetKeys: [{path: ["users_audit"]}, {path: ["users_latest"]}]) {
        assetChecksOrError { ... on AssetChecks { checks {
          name executionForLatestMaterialization { status }
        } } }
      }
    }"""
    answer = urllib3.request("POST", f"{url}/graphql", json={"query": query}).json()
    return {
        check["name"]: (check["executionForLatestMaterialization"] or {}).get("status", "none")
        for node in answer["data"]["assetNodes"]
        for check in node["assetChecksOrError"]["checks"]
    }


def test_a_sync_of_any_kind_leaves_what_the_checks_found(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened_fleet(monkeypatch) as fleet, web_server(fleet.instance) as url:
        keys = fleet.connect(2)
        fleet.run(keys)
        fleet.directory.people["dir-00"] = []
        fleet.run(keys)
        definitions = fleet.definitions()
        definitions.resolve_job_def(check_job().name).execute_in_process(
            instance=fleet.instance, run_config=QUIET, raise_on_error=False
        )
        found = shown(url)
        assert found.pop("nothing_is_quarantined") == "FAILED"
        assert set(found.values()) == {"SUCCEEDED"}
        fleet.run(keys[1:])
        assert shown(url) == {**found, "nothing_is_quarantined": "FAILED"}
        fleet.directory.failures["dir-01"].extend([403])
        everything = definitions.resolve_implicit_global_asset_job_def()
        failed = everything.execute_in_process(
            instance=fleet.instance,
            run_config=QUIET,
            tags=partition_tags(keys),
            asset_selection=[asset_key(USERS, stage) for stage in Stage],
            raise_on_error=False,
        )
        assert not failed.success
        assert shown(url) == {**found, "nothing_is_quarantined": "FAILED"}


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


def test_the_command_reads_what_changed_or_with_all_everything(own_home: Path) -> None:
    company = Company(own_home)
    for name in ("dir-01", "dir-02"):
        company.connect(IntegrationRef("acme", name), World(people(30)))
        company.sync(IntegrationRef("acme", name), sync_id="s1")
    elt_assets = Command(own_home.parent, {"ELT_ASSETS_HOME": str(own_home)})

    def replayed(*options: str) -> tuple[str, int, int]:
        checks = elt_assets("check", "--json", *options).document["checks"]
        (found,) = (
            check
            for check in checks
            if check["check"] == "log_replays" and check["asset"] == "users_audit"
        )
        return found["result"], found["looked_at"], found["not_due"]

    assert replayed() == ("passed", 2, 0)
    with company.platform.database.transaction() as transaction:
        transaction.execute("DELETE FROM users_latest WHERE external_id = 'u-0003'")
    company.platform.close()
    assert replayed()[1:] == (1, 1), "one has its turn"
    assert replayed("--all") == ("failed", 2, 0)
    assert "--all reads every one" not in elt_assets("check").err, "both are due until they hold"


@pytest.mark.filterwarnings("ignore:Specifying a partitions_def")  # a preview
def test_dagster_still_records_no_partition_with_the_check_of_a_range() -> None:
    """The reason why a check of ours looks at all integrations; see docs/architecture.md."""
    partitions = dg.DynamicPartitionsDefinition(name="some")

    @dg.asset(
        partitions_def=partitions,
        check_specs=[dg.AssetCheckSpec("right", asset="table", partitions_def=partitions)],
    )
    def table() -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[None]]:
        yield dg.AssetCheckResult(check_name="right", passed=True)
        yield dg.MaterializeResult()

    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("some", ["a", "b"])
        ended = (
            dg.Definitions(assets=[table])
            .resolve_implicit_global_asset_job_def()
            .execute_in_process(instance=instance, tags=partition_tags(["a", "b"]))
        )
    (evaluation,) = ended.get_asset_check_evaluations()
    assert evaluation.partition is None
