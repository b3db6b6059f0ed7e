"""Sign-ins of the embedded provider: pages, days that fail, files, and the truth of them all."""

from __future__ import annotations

import csv
import gzip
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from elt_assets.demo.layout import DemoLayout
from elt_assets.demo.process import ProviderProcess
from elt_assets.demo.signin_files import exports, signin_truth, write_exports
from elt_assets.demo.signin_listing import Outage, SigninListing
from elt_assets.demo.signins import LATE, SigninSource, recorded
from elt_assets.errors import InvalidInput, NotFound
from elt_assets.identifiers import IntegrationRef
from elt_assets_tests.demo.reading import call

REF = IntegrationRef("demo-001", "people-001")
DAYS = [date(2026, 3, 1) + timedelta(days=day) for day in range(3)]
LAYOUT = DemoLayout(organizations=2, integrations=3, users=20, signins=12)
QUERY = {"from": f"{DAYS[0]}T00:00:00Z", "to": f"{DAYS[1]}T00:00:00Z"}


def walked(listing: SigninListing, query: dict[str, str]) -> list[Any]:
    found: list[Any] = []
    cursor: dict[str, str] = {}
    while True:
        page: Any = listing.page(REF, {**query, **cursor})
        found += page["data"]["items"]
        if page["data"]["next"] is None:
            assert page["data"]["total"] == len(found)
            return found
        cursor = {"cursor": page["data"]["next"]}


@pytest.mark.parametrize("limit", ["1", "5", "1000"])
def test_pages_of_a_day_hold_what_was_recorded_that_day(limit: str) -> None:
    found = walked(SigninListing(LAYOUT), {**QUERY, "limit": limit})
    assert found == recorded(SigninSource.of(LAYOUT, REF), DAYS[0])
    assert all(one.recorded_at.date() == DAYS[0] for one in found)


def test_a_range_of_days_has_each_recording_once() -> None:
    query = {"from": QUERY["from"], "to": "2026-03-03T12:00:00+02:00", "limit": "1000"}
    found = walked(SigninListing(LAYOUT), query)
    end = datetime(2026, 3, 3, 10, tzinfo=UTC)
    every = [one for day in DAYS for one in recorded(SigninSource.of(LAYOUT, REF), day)]
    assert found == [one for one in every if one.recorded_at < end]


def test_a_day_has_late_events_and_corrections() -> None:
    found = recorded(SigninSource.of(LAYOUT, REF), DAYS[1])
    assert [one.occurred_at.date() for one in found[:LATE]] == [DAYS[0]] * LATE
    assert {one.occurred_at.date() for one in found[LATE:]} == {DAYS[1]}
    twice = [name for name, times in Counter(one.id for one in found).items() if times == 2]
    assert len(twice) == 2
    for name in twice:
        first, second = (one for one in found if one.id == name)
        assert first.recorded_at < second.recorded_at
        assert first.result != second.result


def test_a_failing_day_fails_until_it_is_repaired_and_no_other_day_does() -> None:
    listing = SigninListing(LAYOUT)
    listing.order(REF, Outage({DAYS[0]: 403}))
    assert listing.failure(REF, QUERY) == 403
    assert listing.failure(IntegrationRef("demo-002", "people-001"), QUERY) is None
    assert listing.failure(REF, {"from": f"{DAYS[1]}T00:00:00Z"}) is None
    listing.order(REF, Outage())
    assert listing.failure(REF, QUERY) is None


def test_an_invalid_layout_is_refused() -> None:
    listing = SigninListing(LAYOUT)
    with pytest.raises(InvalidInput, match="from must be a time"):
        listing.page(REF, {"to": QUERY["to"]})
    with pytest.raises(InvalidInput, match="to must be a time"):
        listing.page(REF, {**QUERY, "to": "2026-03-02"})
    with pytest.raises(InvalidInput, match="days after from"):
        listing.page(REF, {"from": QUERY["to"], "to": QUERY["from"]})
    with pytest.raises(NotFound, match="nobody:at-home is not served"):
        listing.page(IntegrationRef("nobody", "at-home"), QUERY)


def test_the_running_provider_serves_signins_and_lets_days_fail() -> None:
    with ProviderProcess(LAYOUT) as provider:
        path = f"/v1/demo-001/people-001/signins?from={QUERY['from']}&to={QUERY['to']}"
        served = call(provider, path)
        assert served.status == 200
        assert served.body["data"]["total"] == len(recorded(SigninSource.of(LAYOUT, REF), DAYS[0]))
        assert set(served.body["data"]["items"][0]) == {
            *("id", "recordedAt", "occurredAt", "actor", "result", "client", "application")
        }
        provider.order_outage(REF, {DAYS[0]: 503})
        failed = call(provider, path)
        assert (failed.status, failed.body["error"]["code"]) == (503, "out_of_order")
        with pytest.raises(InvalidInput, match="200 is not the status of an error"):
            provider.order_outage(REF, {DAYS[0]: 200})
        with pytest.raises(NotFound):
            provider.order_outage(IntegrationRef("nobody", "at-home"), {})
        provider.order_outage(REF, {})
        assert call(provider, path).status == 200


def test_files_have_every_case_once_and_are_reproducible(tmp_path: Path) -> None:
    write_exports(tmp_path, exports(LAYOUT, DAYS))
    names = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*"))
    assert names == [
        "2026-03-01/demo-001.csv",
        "2026-03-01/demo-002.csv",
        "2026-03-02/demo-001-again.csv.gz",
        "2026-03-02/demo-001.csv.gz",
        "2026-03-02/demo-002.csv.gz",
        "2026-03-03/demo-001.csv",
        "2026-03-03/demo-002.csv",
    ]
    second = (tmp_path / names[2]).read_bytes()
    assert second == (tmp_path / names[3]).read_bytes()
    lines = list(csv.DictReader(gzip.decompress(second).decode().splitlines()))
    assert Counter(line["op"] for line in lines) == {
        "INSERT": 19,
        "UPDATE": 2,
        "DELETE": 2,
        None: 1,
    }
    good = lines[:-5]
    assert {line["occurred_at"][:10] for line in good} == {"2026-03-01", "2026-03-02"}
    before = {name: (tmp_path / name).read_bytes() for name in names}
    write_exports(tmp_path, exports(LAYOUT, DAYS))
    assert {name: (tmp_path / name).read_bytes() for name in names} == before


def test_the_truth_equals_what_a_full_reader_gets() -> None:
    """Worked out once more, the long way: one telling after the other into a dictionary."""
    truth = {(row["organization_id"], row["event_id"]): row for row in signin_truth(LAYOUT, DAYS)}
    told: dict[tuple[str, str], tuple[Any, ...]] = {}
    for export in exports(LAYOUT, DAYS):
        for row in csv.DictReader(export.text().splitlines()[: -len(export.bad)]):
            key = (row["organization_id"], row["event_id"])
            told[key] = (row["result"], row["application"], row["op"] == "DELETE", "csv")
    for ref in LAYOUT.worlds():
        for day in DAYS:
            for one in recorded(SigninSource.of(LAYOUT, ref), day):
                told[ref.organization_id, one.id] = (one.result, one.application, False, "api")
    assert {
        key: (row["result"], row["application"], row["deleted"], row["source"])
        for key, row in truth.items()
    } == told
    assert {row["source"] for row in truth.values()} == {"api", "csv"}
    assert sum(row["deleted"] for row in truth.values()) == 2 * (len(DAYS) * 2 - 1)
