"""Which warehouses are read: those that changed, and each one within a week."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.admin.warehouse_audit.checked import Known, LastHeld
from elt_assets.sync.admin.warehouse_audit.due import WITHIN, due
from elt_assets.sync.clock import text

NOW = datetime(2026, 3, 1, 6, 20, tzinfo=UTC)


def known(number: int = 0, *, held: timedelta | None = timedelta(days=1), **changes: int) -> Known:
    """One that was right so long ago at version 4, and has not changed."""
    found = None if held is None else LastHeld(4, 4, "as it was", text(NOW - held))
    one = Known(IntegrationRef("acme", f"i-{number:03}"), 4, 4, False, found, 0)
    return msgspec.structs.replace(one, **changes)


def names(fleet: list[Known], *, written: str = "as it was", now: datetime = NOW) -> list[str]:
    return [one.ref.integration_id for one in due(fleet, {k.ref: written for k in fleet}, now)]


FRESH = known(999, held=timedelta(0))
"""Read just now: as long as an audit runs every moment, no other has its turn."""


@pytest.mark.parametrize(
    ("one", "is_due"),
    [
        (known(held=None), True),
        (known(), False),
        (known(version=6, uneventful=2), False),
        (known(version=6, uneventful=1), True),
        (known(version=3), True),
    ],
    ids=["never held", "as before", "two unchanged syncs", "one sync changed it", "set back"],
)
def test_what_may_have_changed_is_due(one: Known, is_due: bool) -> None:
    assert ("i-000" in names([one, FRESH])) is is_due


def test_one_that_was_written_to_by_no_sync_is_due() -> None:
    assert "i-000" in names([known(), FRESH], written="otherwise")


def test_what_unchanged_syncs_wrote_is_no_reason() -> None:
    one = known(version=5, uneventful=1)
    assert names([one, known(1, held=timedelta(0))], written="otherwise") == ["i-001"]


def test_of_the_others_the_longest_unread_are_due() -> None:
    fleet = [known(number, held=timedelta(days=1, hours=number)) for number in range(12)]
    assert names(fleet) == ["i-011", "i-010"], "a day is a sixth of a round"


def test_after_a_week_without_an_audit_every_one_is() -> None:
    fleet = [known(number, held=timedelta(days=7)) for number in range(12)]
    assert len(names(fleet)) == 12


def test_a_clock_that_was_set_back_is_no_reason() -> None:
    assert names([known(number, held=-timedelta(days=3)) for number in range(5)]) == []


@pytest.mark.parametrize("size", [1, 5, 100])
@pytest.mark.parametrize("lateness", [timedelta(0), timedelta(hours=3)])
def test_a_daily_audit_reads_each_within_a_week_and_a_part_of_them_a_day(
    size: int, lateness: timedelta
) -> None:
    last_read = {known(number).ref: NOW for number in range(size)}
    most = 0
    for day in range(1, 40):
        now = NOW + timedelta(days=day) + (lateness if day % 2 else timedelta(0))
        fleet = [
            msgspec.structs.replace(known(), ref=ref, held=LastHeld(4, 4, "as it was", text(read)))
            for ref, read in last_read.items()
        ]
        read_now = due(fleet, dict.fromkeys(last_read, "as it was"), now)
        last_read |= {one.ref: now for one in read_now}
        assert now - min(last_read.values()) < WITHIN
        most = max(most, len(read_now))
    assert most <= size / 5 + 1
