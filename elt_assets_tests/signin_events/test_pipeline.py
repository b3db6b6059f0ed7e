"""A day of events from both sources to the summary: what counts, and that twice is once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import duckdb
import pytest

from elt_assets.config.settings import load_settings
from elt_assets.errors import InvalidInput, PermanentError
from elt_assets.identifiers import IntegrationRef
from elt_assets.signin_events.pipeline import EventPipeline
from elt_assets.signin_events.results import EventSource
from elt_assets.sync.admin.installation_backup import backup
from elt_assets.sync.service import SyncService
from elt_assets_tests.signin_events.days import ACME, DAY, EVE, Tenant, event, line

OTHER = IntegrationRef("other", "main")


@pytest.fixture
def tenant(tmp_path: Path) -> Iterator[Tenant]:
    with Tenant(tmp_path) as tenant:
        yield tenant


def test_a_day_run_twice_changes_nothing(tenant: Tenant) -> None:
    tenant.listed = [event(number) for number in range(5)]
    tenant.file("a.csv", line("f-1"), line("f-2"), line("e-1"))
    first = tenant.run()
    assert (first.rows, first.inserted, first.duplicates, first.days) == (7, 7, 1, (DAY,))
    before = tenant.table()
    again = tenant.run()
    assert (again.inserted, again.updated, again.removed, again.unchanged) == (0, 0, 0, 7)
    assert again.days == ()
    assert again.fingerprint == first.fingerprint
    assert tenant.table() == before


def test_an_event_that_both_sources_tell_of_is_the_providers(tenant: Tenant) -> None:
    tenant.listed = [event(1)]
    tenant.file("a.csv", line("e-1", op="INSERT"))
    tenant.run()
    assert tenant.table()["e-1"]["application"] == "mail"
    assert tenant.table()["e-1"]["source"] == "api"


def test_of_two_versions_the_newest_counts_in_whatever_order_they_are_listed(
    tenant: Tenant,
) -> None:
    newer = event(1, result="failure", recorded=f"{DAY}T12:00:00Z")
    tenant.listed = [newer, event(2), event(1)]
    tenant.run()
    assert tenant.table()["e-1"]["result"] == "failure"


@pytest.mark.parametrize(
    ("ops", "deleted", "application"),
    [
        (("INSERT", "UPDATE"), False, "second"),
        (("INSERT", "DELETE"), True, "first"),
        (("INSERT", "UPDATE", "DELETE"), True, "second"),
        (("INSERT", "DELETE", "INSERT"), False, "third"),
        (("DELETE", "UPDATE"), False, "second"),
        (("DELETE",), True, "first"),
    ],
)
def test_changes_in_a_file_apply_in_their_order_and_deletes_are_soft(
    tenant: Tenant, ops: tuple[str, ...], deleted: bool, application: str
) -> None:
    words = ("first", "second", "third")
    lines = [line("f-1", op=op, application=word) for op, word in zip(ops, words, strict=False)]
    tenant.file("a.csv", *lines)
    tenant.run()
    row = tenant.table()["f-1"]
    assert (row["deleted"], row["application"]) == (deleted, application)
    (summary,) = tenant.events.reports.summary()
    assert (summary["events"], summary["deleted_events"]) == (int(not deleted), int(deleted))


def test_a_correction_in_a_file_is_before_the_providers_record(tenant: Tenant) -> None:
    tenant.listed = [event(1), event(2)]
    tenant.file("a.csv", line("e-1", op="UPDATE", result="failure"), line("e-2", op="DELETE"))
    tenant.run()
    table = tenant.table()
    assert (table["e-1"]["result"], table["e-1"]["deleted"]) == ("failure", False)
    assert (table["e-2"]["application"], table["e-2"]["deleted"]) == ("mail", True)


def test_a_deletion_of_an_event_that_nobody_knows_makes_no_event(tenant: Tenant) -> None:
    bare = line("f-1", op="DELETE", user_external_id="", result="").replace(f"{DAY}T11:00:00Z", "")
    tenant.file("a.csv", bare)
    assert tenant.run().rows == 0
    assert tenant.letters() == []
    # The event comes late, and was deleted already.
    tenant.file("b.csv", line("f-1"), day=EVE)
    tenant.run(EVE)
    assert tenant.table()["f-1"]["deleted"]


def test_a_deletion_that_a_provider_tells_of_is_soft_too(tenant: Tenant) -> None:
    tenant.listed = [event(1), event(1, gone=True, recorded=f"{DAY}T12:00:00Z")]
    tenant.run()
    assert tenant.table()["e-1"]["deleted"]


def test_late_events_reopen_their_day_and_no_other(tenant: Tenant) -> None:
    eve = [event(number, at=f"{EVE}T10:00:00Z") for number in range(3)]
    tenant.listed = eve
    tenant.run(EVE)
    late = event(9, at=f"{EVE}T23:59:00Z", recorded=f"{DAY}T00:01:00Z")
    tenant.listed = [*eve, late, event(4)]
    loaded = tenant.run(DAY)
    assert loaded.days == (EVE, DAY)
    assert set(tenant.table(EVE)) == {"e-0", "e-1", "e-2", "e-9"}
    assert [row["events"] for row in tenant.events.reports.summary()] == [1, 4]
    # Once more on either day: the late event stays where it belongs.
    assert tenant.run(EVE).days == ()
    assert tenant.run(DAY).days == ()
    tenant.listed = [*eve, event(4), event(5)]
    assert tenant.run(DAY).days == (EVE, DAY)
    assert "e-9" not in tenant.table()


def test_a_correction_that_is_taken_back_no_longer_counts(tenant: Tenant) -> None:
    tenant.file("a.csv", line("f-1", at=f"{EVE}T08:00:00Z"), day=EVE)
    tenant.run(EVE)
    tenant.file("a.csv", line("f-1", op="DELETE"), line("f-2"))
    tenant.run()
    assert tenant.table()["f-1"]["deleted"]
    tenant.file("a.csv", line("f-2"))
    assert tenant.run().days == (EVE,)
    assert not tenant.table()["f-1"]["deleted"]


def test_equal_ids_of_two_organizations_are_two_events(tenant: Tenant) -> None:
    tenant.connect(OTHER)
    tenant.listed = [event(1)]
    tenant.run()
    rows = tenant.events.reports.events()
    assert [(row["organization_id"], row["event_id"]) for row in rows] == [
        ("acme", "e-1"),
        ("other", "e-1"),
    ]


def test_records_that_break_the_schema_are_dead_letters_with_file_and_line(
    tenant: Tenant,
) -> None:
    tenant.file(
        "a.csv",
        line("f-1"),
        "too,few",
        line("f-2", result="maybe"),
        line("", country="DE"),
        line("f-4", organization_id="nobody"),
        line("f-5") + ",more",
        line("f-6", at="yesterday"),
        line("f-7", country="Germany"),
        line("f-8", op="UPSERT"),
        line("f-9", user_external_id=""),
    )
    tenant.run()
    assert set(tenant.table()) == {"f-1"}
    assert sorted(tenant.letters(), key=lambda letter: letter[1] or 0) == [
        ("a.csv", 3, "has fewer values than the header"),
        ("a.csv", 4, "result is not one of success, failure"),
        ("a.csv", 5, "event_id is missing"),
        ("a.csv", 6, "organization_id is not a registered organization"),
        ("a.csv", 7, "has more values than the header"),
        ("a.csv", 8, "occurred_at is no time (ISO 8601 or seconds since 1970)"),
        ("a.csv", 9, "country is not a country code of two letters"),
        ("a.csv", 10, "op is not one of INSERT, UPDATE, DELETE"),
        ("a.csv", 11, "user_external_id is missing"),
    ]


def test_providers_records_that_break_the_schema_are_dead_letters_and_the_books_balance(
    tenant: Tenant,
) -> None:
    tenant.listed = [event(1), "no record", event(2, result=None), event(3, at="soon")]
    tenant.listed[3]["recorded"] = f"{DAY}T10:00:00Z"
    tenant.listed.append(event(4, country="XYZ"))
    (extraction,) = tenant.events.extract_api(DAY)
    assert (extraction.fetched, extraction.staged, extraction.rejected) == (5, 5, 0)
    normalized = tenant.events.normalize(EventSource.API, DAY)
    assert (normalized.read, normalized.normalized, normalized.rejected) == (5, 1, 4)
    reasons = {row["key"]: row["reason"] for row in tenant.events.reports.rejected()}
    assert reasons == {
        None: "record is text, not an object",
        "e-2": "result is missing",
        "e-3": "occurred_at is no time (ISO 8601 or seconds since 1970)",
        "e-4": "country is not a country code of two letters",
    }


def test_dead_letters_are_retried_without_fetching_once_the_cause_is_gone(tenant: Tenant) -> None:
    tenant.listed = [event(1, outcome="success", result="OK")]
    tenant.file("a.csv", line("f-1", organization_id="other"))
    tenant.run()
    assert tenant.events.reports.rejected_counts() == [
        {
            "day": DAY.isoformat(),
            "source": source,
            "reason": reason,
            "count": 1,
        }
        for source, reason in (
            ("api", "result is not one of success, failure"),
            ("csv", "organization_id is not a registered organization"),
        )
    ]
    asked = len(tenant.provider.asked)
    tenant.platform.registry.update(ACME, tenant.provider_data(result='result == "OK"'))
    tenant.connect(OTHER)
    tenant.events.retry_rejected(DAY)
    assert len(tenant.provider.asked) == asked
    assert set(tenant.table()) == {"e-1", "f-1"}
    assert tenant.table()["e-1"]["result"] == "success"
    assert tenant.events.reports.rejected() == []


def test_dead_letters_expire_and_can_be_taken_out(tenant: Tenant, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no sign-in event was ever loaded"):
        tenant.events.reports.export_rejected(tmp_path / "failures.parquet")
    tenant.file("a.csv", "broken", day=EVE)
    tenant.file("a.csv", "broken", line("f-1", result=""))
    for day in (EVE, DAY):
        tenant.run(day)
    assert tenant.events.reports.export_rejected(tmp_path / "failures.parquet") == 3
    rows = duckdb.sql(f"SELECT reason FROM '{tmp_path}/failures.parquet' ORDER BY 1").fetchall()
    assert rows[-1] == ("result is missing",)
    with pytest.raises(InvalidInput, match="does not exist; create it first"):
        tenant.events.reports.export_rejected(tmp_path / "nowhere" / "failures.parquet")
    assert tenant.events.reports.expire_rejected(DAY) == 1
    assert [row["ingested_day"] for row in tenant.events.reports.rejected()] == [
        DAY.isoformat()
    ] * 2


def test_what_is_due_is_remembered_until_it_is_done(tenant: Tenant) -> None:
    tenant.listed = [event(1), event(2, at=f"{EVE}T23:59:00Z", recorded=f"{DAY}T00:01:00Z")]
    tenant.events.extract_api(DAY)
    tenant.events.normalize(EventSource.API, DAY)
    assert tenant.events.waiting("load") == [DAY]
    tenant.events.load(DAY)
    assert tenant.events.waiting("load") == []
    assert tenant.events.waiting("summarize") == [EVE, DAY]
    tenant.events.summarize(EVE)
    assert tenant.events.waiting("summarize") == [DAY]


def test_a_refresh_makes_the_same_tables_anew(tenant: Tenant) -> None:
    tenant.listed = [event(number) for number in range(3)]
    tenant.file("a.csv", line("f-1"), line("e-1", op="DELETE"))
    tenant.run()
    before, summary = tenant.table(), tenant.events.reports.summary()
    assert tenant.events.refresh() == 4
    assert tenant.table() == before
    assert tenant.events.reports.summary() == summary
    assert tenant.run().days == ()


def test_events_of_a_configuration_that_no_longer_offers_them_are_not_dropped(
    tenant: Tenant,
) -> None:
    tenant.listed = [event(1)]
    tenant.run()
    data = tenant.provider_data()
    stream = data["streams"].pop("signin_events")
    data["streams"]["users"] = stream | {"params": {}, "fields": {"external_id": "id"}}
    tenant.platform.registry.update(ACME, data)
    with pytest.raises(PermanentError, match=r"put streams\.signin_events back"):
        tenant.events.normalize(EventSource.API, DAY)
    assert set(tenant.table()) == {"e-1"}


def test_a_tenant_who_leaves_takes_its_events_along(tenant: Tenant) -> None:
    tenant.connect(OTHER)
    tenant.listed = [event(1), event(2, result="")]
    tenant.file("a.csv", line("f-1"))
    tenant.run()
    tenant.platform.remove(ACME)
    tenant.events.forget(ACME)
    assert {row["organization_id"] for row in tenant.events.reports.events()} == {"other"}
    assert {row["organization_id"] for row in tenant.events.reports.rejected()} == {"other"}
    assert {row["organization_id"] for row in tenant.events.reports.summary()} == {"other"}
    content = (tenant.platform.settings.analytics_path / "analytics.duckdb").read_bytes()
    assert b"acme" not in content
    assert b"other" in content
    tenant.events.normalize(EventSource.API, DAY)
    assert tenant.events.load(DAY).days == ()


def test_a_tenant_who_comes_back_finds_its_files_to_be_loaded(tenant: Tenant) -> None:
    tenant.connect(OTHER)
    tenant.file("a.csv", line("f-1"), line("n-1", organization_id="nobody"))
    tenant.file("b.csv", line("f-2"), line("o-1", organization_id="other"))
    tenant.run()
    tenant.platform.remove(ACME)
    tenant.events.forget(ACME)
    assert tenant.letters() == []
    tenant.connect(ACME)
    own, shared = tenant.events.extract_files(DAY)
    assert (own.status, shared.status) == ("loaded", "unchanged")
    tenant.events.normalize(EventSource.CSV, DAY)
    tenant.events.load(DAY)
    assert set(tenant.table()) == {"f-1", "o-1"}


def test_one_of_an_organizations_integrations_leaves_and_its_days_are_counted_anew(
    tenant: Tenant,
) -> None:
    second = IntegrationRef("acme", "second")
    tenant.connect(second)
    tenant.listed = [event(1)]
    tenant.file("a.csv", line("f-1", integration_id="second"), line("f-2"))
    tenant.run()
    tenant.platform.remove(second)
    tenant.events.forget(second)
    assert tenant.events.waiting("load") == tenant.events.waiting("summarize") == [DAY]
    tenant.events.load(DAY)
    tenant.events.summarize(DAY)
    assert set(tenant.table()) == {"e-1", "f-2"}
    assert tenant.table()["e-1"]["integration_id"] == "main"
    (summary,) = tenant.events.reports.summary()
    assert summary["events"] == 2


def test_a_backup_holds_the_events_too(tenant: Tenant, tmp_path: Path) -> None:
    tenant.listed = [event(1), event(2)]
    tenant.run()
    backup(tenant.platform, tmp_path / "copy")
    settings = load_settings(home=tmp_path / "copy")
    with SyncService.open(settings) as restored, EventPipeline(restored) as events:
        assert len(events.reports.events()) == 2
        assert events.load(DAY).unchanged == 2


def test_an_installation_without_events_answers_every_question(tenant: Tenant) -> None:
    events = tenant.events
    assert (
        events.reports.days()
        == events.reports.events()
        == events.reports.summary()
        == events.reports.rejected()
        == []
    )
    assert events.reports.rejected_counts() == events.waiting("load") == events.arrivals() == []
    assert events.reports.expire_rejected(date(2030, 1, 1)) == 0
    for name in ("volume", "conformance", "duplicates", "gaps", "freshness"):
        assert events.check(name).passed
    with pytest.raises(InvalidInput, match="there is no check 'volumes'"):
        events.check("volumes")
    events.forget(ACME)
    assert not (tenant.platform.settings.analytics_path / "analytics.duckdb").exists()


def test_the_state_of_every_day_says_what_is_wrong_with_it(tenant: Tenant) -> None:
    tenant.failing = {1: 403}
    tenant.file("a.csv", line("f-1"), "broken", day=EVE)
    tenant.events.extract_api(EVE)
    tenant.events.extract_files(EVE)
    tenant.file("b.csv", header="nothing,of,use")
    tenant.events.extract_files(DAY)
    newest, oldest = tenant.events.reports.days()
    assert (oldest.day, oldest.failed_extractions, oldest.files, oldest.rejected) == (EVE, 1, 1, 1)
    assert "answered 403" in oldest.errors[0]
    assert (newest.day, newest.failed_files) == (DAY, 1)
    assert "has no column organization_id, event_id" in newest.errors[0]
    assert tenant.events.reports.days(begin=DAY) == [newest]
