"""The assets of sign-in events: a day from two sources, and what one's failure costs the other."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import dagster as dg
import pytest

from elt_assets.cli.main import Invocation
from elt_assets.cli.main import run as run_command
from elt_assets.client.in_process_days import DayRun, run_days
from elt_assets.config.settings import load_settings
from elt_assets.definitions import assembled
from elt_assets.identifiers import IntegrationRef
from elt_assets.orchestration.instance.opening import open_instance
from elt_assets.orchestration.placement import Placement
from elt_assets.signin_events.pipeline import SCHEMA, EventPipeline
from elt_assets.sync.service import SyncService
from elt_assets_tests.connectors.serving import Asked, Provider, Reply, as_json
from elt_assets_tests.testbed.fleet import QUIET

REF = IntegrationRef("acme", "crm")
DAY = date(2026, 3, 2)
EVE = date(2026, 3, 1)
HEADER = "event_id,organization_id,user_external_id,occurred_at,result"


class Api(Provider):
    """Sign-ins over HTTP: one event a day, or the status that a test dictates."""

    def __init__(self) -> None:
        self.status = 200
        self.falters = 0
        super().__init__(self._signins)

    def _signins(self, asked: Asked) -> Reply:
        if asked.path.startswith("/ill") and self.falters:
            self.falters -= 1
            return Reply(status=503)
        day = asked.query["from"][:10]
        event = {"id": f"api-{day}", "at": f"{day}T10:00:00Z", "who": "u1", "how": "success"}
        return as_json([event], status=self.status)


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    monkeypatch.setenv("ELT_ASSETS_FETCH_FIRST_WAIT", "0")
    monkeypatch.setenv("ELT_ASSETS_EVENTS_SETTLE_SECONDS", "0")
    with Api() as api, SyncService.open(load_settings()) as platform:
        data = {
            "permission_source_name": "API",
            "api_endpoint": api.url,
            "streams": {
                "signin_events": {
                    "path": "/signins",
                    "params": {"from": "{from}", "to": "{to}"},
                    "pagination": {"type": "none"},
                    "fields": {
                        "event_id": "id",
                        "occurred_at": "at",
                        "user_external_id": "who",
                        "result": "how",
                    },
                }
            },
        }
        platform.registry.add(REF, "rest", data)
        yield api


@pytest.fixture
def instance(own_home: Path) -> Iterator[dg.DagsterInstance]:
    with open_instance(load_settings()) as instance:
        yield instance


def put(day: date, *lines: str, header: str = HEADER) -> None:
    path = load_settings().events_folder / day.isoformat() / "export.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join((header, *lines, "")))


def line(name: str, day: date, result: str = "success") -> str:
    return f"{name},acme,u2,{day}T11:00:00Z,{result}"


def run(instance: dg.DagsterInstance, day: date = DAY) -> DayRun:
    (done,) = run_days([day], settings=load_settings(), instance=instance)
    return done


def loaded() -> dict[str, str]:
    """The loaded events and their sources."""
    with SyncService.open(load_settings()) as platform, EventPipeline(platform) as events:
        return {row["event_id"]: row["source"] for row in events.reports.events()}


def metadata(instance: dg.DagsterInstance, asset: str, day: date = DAY) -> dict[str, object]:
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(dg.AssetKey(asset), asset_partitions=[day.isoformat()]), limit=1
    ).records
    materialization = records[0].asset_materialization
    assert materialization
    return {label: value.value for label, value in materialization.metadata.items()}


def test_a_day_is_loaded_from_both_sources_and_every_step_has_metadata(
    api: Api, instance: dg.DagsterInstance
) -> None:
    put(DAY, line("csv-1", DAY), line("csv-2", DAY, "perhaps"), line("late", EVE))
    assert run(instance).success
    assert loaded() == {"api-2026-03-02": "api", "csv-1": "csv", "late": "csv"}
    told = {"source": "csv", "stage": "transform", "schema": SCHEMA, "read": 3, "rejected": 1}
    assert metadata(instance, "normalized_csv_events").items() >= told.items()
    assert metadata(instance, "normalized_csv_events")["late"] == 1
    assert metadata(instance, "api_events").items() >= {"integrations": 1, "fetched": 1}.items()
    assert metadata(instance, "csv_events").items() >= {"files": 1, "staged": 3}.items()
    assert (
        metadata(instance, "signin_events").items()
        >= {
            "stage": "load",
            "inserted": 3,
            "reopened": "2026-03-01",
        }.items()
    )
    # The day that late events belong to has an event of its own.
    assert metadata(instance, "signin_events", EVE) == {"reopened_by": "2026-03-02"}
    assert metadata(instance, "daily_signin_summary", EVE)["events"] == 1
    assert metadata(instance, "daily_signin_summary")["events"] == 2
    before = metadata(instance, "signin_events")["fingerprint"]
    assert run(instance).success
    again = metadata(instance, "signin_events")
    assert (again["fingerprint"], again["inserted"], again["updated"]) == (before, 0, 0)


def test_a_failed_source_skips_its_dependents_and_not_the_other_branch(
    api: Api, instance: dg.DagsterInstance
) -> None:
    put(DAY, line("csv-1", DAY))
    api.status = 403
    failed = run(instance)
    assert not failed.success
    assert list(failed.failed) == ["api_events"]
    assert "403" in failed.failed["api_events"]
    assert failed.skipped == ("normalized_api_events", "signin_events", "daily_signin_summary")
    assert len(api.asked) == 1, "an answer that stays is not asked for again"
    assert metadata(instance, "normalized_csv_events")["normalized"] == 1
    assert loaded() == {}
    observed = instance.fetch_observations(dg.AssetKey("signin_events"), limit=1).records[0]
    assert observed.partition_key == "2026-03-02"
    assert observed.asset_observation
    assert "skipped, because api_events of 2026-03-02 failed" in str(
        observed.asset_observation.description
    )
    api.status = 200
    assert run(instance).success
    assert loaded() == {"api-2026-03-02": "api", "csv-1": "csv"}


def test_a_further_attempt_reads_only_the_integrations_that_failed(
    api: Api, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ELT_ASSETS_FETCH_ATTEMPTS", "1")
    with SyncService.open(load_settings()) as platform:
        ill = platform.registry.get(REF).provider_data
        ill["api_endpoint"] += "/ill"
        platform.registry.add(IntegrationRef("acme", "ill"), "rest", ill)
    api.falters = 1
    assert run(instance).success
    paths = [asked.path for asked in api.asked]
    assert sorted(paths) == ["/ill/signins", "/ill/signins", "/signins"]
    assert metadata(instance, "api_events").items() >= {"integrations": 2, "fetched": 2}.items()
    with SyncService.open(load_settings()) as platform, EventPipeline(platform) as events:
        (met,) = events.reports.errors(DAY)
    assert (met["integration_id"], met["attempt"]) == ("ill", 1)
    assert "503" in met["error"]


@pytest.mark.parametrize("retries", [0, 1])
def test_the_policy_of_an_embedded_installation_retries_its_own_steps(
    api: Api, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, retries: int
) -> None:
    monkeypatch.setenv("ELT_ASSETS_FETCH_ATTEMPTS", "1")
    at = Placement(("staff",), retry_policy=dg.RetryPolicy(max_retries=retries))
    with SyncService.open(load_settings()) as platform:
        data = platform.registry.get(REF).provider_data
        data["api_endpoint"] += "/ill"
        platform.registry.add(IntegrationRef("acme", "ill"), "rest", data)
        api.falters = 1
        job = assembled(at, platform).resolve_job_def("staff_load_signin_events")
        result = job.execute_in_process(
            instance=instance,
            partition_key=DAY.isoformat(),
            run_config=QUIET,
            raise_on_error=False,
        )
    kinds = [event.event_type for event in result.all_events]
    assert kinds.count(dg.DagsterEventType.STEP_UP_FOR_RETRY) == retries
    assert result.success is bool(retries)
    summary = dg.AssetKey(["staff", "daily_signin_summary"])
    skipped = instance.fetch_observations(summary, limit=1).records
    assert bool(skipped) is not bool(retries)
    assert bool(instance.get_latest_materialization_event(summary)) is bool(retries)


def test_a_share_of_integrations_that_fails_does_not_hold_the_others_back(
    api: Api, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ELT_ASSETS_EVENTS_FAILED_SHARE", "1")
    put(DAY, line("csv-1", DAY))
    api.status = 403
    assert run(instance).success
    told = metadata(instance, "api_events")
    assert told["failed"] == 1
    assert "acme:crm: " in str(told["errors"])
    assert loaded() == {"csv-1": "csv"}


def test_a_day_that_is_nearly_all_dead_letters_is_not_loaded(
    api: Api, instance: dg.DagsterInstance, capsys: pytest.CaptureFixture[str]
) -> None:
    put(DAY, line("csv-1", DAY))
    assert run(instance).success
    put(DAY, *(line(f"csv-{number}", DAY, "perhaps") for number in range(20)))
    held = run(instance)
    assert "20 of 20 records are dead letters" in held.failed["normalized_csv_events"]
    assert held.skipped == ("signin_events", "daily_signin_summary")
    assert loaded() == {"api-2026-03-02": "api", "csv-1": "csv"}, "nobody emptied the day"
    assert run_command(["events", "status"], Invocation()) == 0
    assert "1 days have records that are not loaded, first 2026-03-02" in (capsys.readouterr().err)
