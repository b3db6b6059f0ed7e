"""The ledger's own rules: order, continuation, and a version that is compared and set."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import msgspec
import pytest

from elt_assets.config.settings import load_settings
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.from_settings import operational_database
from elt_assets.storage.operational.database import OperationalDatabase
from elt_assets.sync.outcome import Certificate, Counts, Outcome, Status
from elt_assets.sync.state import ledger, sync_history, versions
from elt_assets.sync.state.ledger import SyncRow
from elt_assets.sync.state.versions import Reading, Version
from elt_assets.sync.streams import USERS, Stream, StreamKey
from elt_assets_tests.sync.worlds import ACME

# Names that read the same when run together.
ALIKE = IntegrationRef("a", "bc"), IntegrationRef("ab", "c")
GROUPS = Stream("groups", "Groups.", USERS.key, USERS.content)
KEY = StreamKey(USERS, ACME)


@pytest.fixture
def database(backend: str) -> Iterator[OperationalDatabase]:
    made = operational_database(load_settings())
    made.migrate()
    yield made
    made.close()


def begun(
    database: OperationalDatabase,
    sync_id: str,
    ref: IntegrationRef = ACME,
    *,
    stream: Stream = USERS,
    run_id: str | None = None,
) -> SyncRow:
    with database.transaction() as transaction:
        return ledger.begin(transaction, StreamKey(stream, ref), sync_id, run_id)


def outcome(sync_id: str, status: Status, ref: IntegrationRef = ACME) -> Outcome:
    """One with something in every field that the ledger keeps."""
    return Outcome(
        partition=ref.partition_key,
        stream="users",
        sync_id=sync_id,
        status=status,
        counts=Counts(*range(10, 10 + len(Counts.__struct_fields__))),
        certificate=Certificate(reasons=("a reason",), pages=7, declared_total=9),
        resumed_batches=2,
        batches=5,
        version=3,
        reasons=("withheld because", "and because"),
        error="acme:main: what went wrong",
        retryable=True,
        run_id="run-1",
    )


def settled(database: OperationalDatabase, result: Outcome, ref: IntegrationRef = ACME) -> None:
    with database.transaction() as transaction:
        ledger.settle(transaction, StreamKey(USERS, ref), result)


def advanced(database: OperationalDatabase, expected: Version, row: SyncRow) -> bool:
    with database.transaction() as transaction:
        return versions.advance(transaction, expected, row, Reading())


def test_what_was_recorded_is_what_a_repeat_returns(database: OperationalDatabase) -> None:
    begun(database, "s1")
    result = outcome("s1", Status.QUARANTINED)
    settled(database, result)
    row = ledger.find(database, KEY, "s1")
    assert row is not None
    assert row.outcome() == msgspec.structs.replace(result, recorded=True)
    assert row.finished_at is not None


def test_a_sync_nobody_began_is_not_there(database: OperationalDatabase) -> None:
    begun(database, "s1")
    assert ledger.find(database, KEY, "s2") is None
    assert ledger.find(database, StreamKey(GROUPS, ACME), "s1") is None
    assert ledger.find(database, StreamKey(USERS, ALIKE[0]), "s1") is None


def test_a_new_sync_is_extracting_and_the_newest(database: OperationalDatabase) -> None:
    rows = [begun(database, sync_id, run_id="run-9") for sync_id in ("z", "a", "m")]
    assert [row.ordinal for row in rows] == [1, 2, 3]
    assert {(row.status, row.attempts, row.run_id) for row in rows} == {
        (Status.EXTRACTING, 1, "run-9")
    }
    assert rows == [ledger.find(database, KEY, row.sync_id) for row in rows]


def test_every_stream_of_every_integration_counts_for_itself(
    database: OperationalDatabase,
) -> None:
    for ref in ALIKE:
        assert [begun(database, sync_id, ref).ordinal for sync_id in ("s1", "s2")] == [1, 2]
    assert begun(database, "s1", ALIKE[0], stream=GROUPS).ordinal == 1


def test_an_unfinished_sync_is_continued_in_its_old_place(database: OperationalDatabase) -> None:
    begun(database, "s1")
    settled(database, outcome("s1", Status.FAILED))
    begun(database, "s2")
    again = begun(database, "s1", run_id="run-2")
    found = ledger.find(database, KEY, "s1")
    assert found is not None
    for row in (again, found):
        assert (row.ordinal, row.attempts, row.run_id) == (1, 2, "run-2")
        assert (row.status, row.error) == (Status.EXTRACTING, None)
    assert (found.retryable, found.finished_at) == (False, None)


@pytest.mark.parametrize("status", [status for status in Status if status.settled])
def test_a_settled_sync_is_neither_continued_nor_settled_again(
    database: OperationalDatabase, status: Status
) -> None:
    begun(database, "s1")
    settled(database, outcome("s1", status))
    before = ledger.find(database, KEY, "s1")
    assert begun(database, "s1", run_id="another") == before
    settled(database, Outcome("acme:main", "users", "s1", Status.FAILED, error="later"))
    assert ledger.find(database, KEY, "s1") == before


def test_a_place_once_given_is_never_given_again(database: OperationalDatabase) -> None:
    """Even when old rows of the ledger are gone: an older extraction must stay older."""
    rows = [begun(database, sync_id) for sync_id in ("s1", "s2")]
    assert advanced(database, Version(), rows[1])
    with database.transaction() as transaction:
        transaction.execute("DELETE FROM syncs")
    assert begun(database, "s3").ordinal == 3


def test_the_version_starts_at_nothing_and_counts_settlements(
    database: OperationalDatabase,
) -> None:
    assert versions.current(database, KEY) == Version(0, 0)
    for number in range(1, 4):
        row = begun(database, f"s{number}")
        assert advanced(database, versions.current(database, KEY), row)
        assert versions.current(database, KEY) == Version(number, number)


@pytest.mark.parametrize("expected", [Version(0, 0), Version(1, 1), Version(3, 3)])
def test_a_version_that_is_not_the_expected_one_is_left_alone(
    database: OperationalDatabase, expected: Version
) -> None:
    for number in (1, 2):
        row = begun(database, f"s{number}")
        assert advanced(database, Version(number - 1, number - 1), row)
    late = begun(database, "late")
    assert not advanced(database, expected, late)
    assert versions.current(database, KEY) == Version(2, 2)


def test_of_many_that_compare_at_once_exactly_one_sets(database: OperationalDatabase) -> None:
    first = begun(database, "s0")
    assert advanced(database, Version(), first)
    rows = [begun(database, f"s{number}") for number in range(1, 9)]
    everybody = threading.Barrier(len(rows))
    won: list[str] = []

    def compete(row: SyncRow) -> None:
        everybody.wait()
        if advanced(database, Version(1, 1), row):
            won.append(row.sync_id)

    threads = [threading.Thread(target=compete, args=(row,)) for row in rows]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = won
    assert versions.current(database, KEY) == Version(2, int(winner[1:]) + 1)


def test_one_integrations_version_is_not_anothers(database: OperationalDatabase) -> None:
    one, other = ALIKE
    assert advanced(database, Version(), begun(database, "s1", one))
    assert versions.current(database, StreamKey(USERS, other)) == Version()
    assert advanced(database, Version(), begun(database, "s1", other))


def test_a_watermark_rises_and_never_falls(database: OperationalDatabase) -> None:
    moments = ["2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z", "2026-01-01T00:00:00Z", None]
    seen = []
    for number, moment in enumerate(moments):
        row = begun(database, f"s{number}")
        expected = versions.current(database, KEY)
        with database.transaction() as transaction:
            assert versions.advance(transaction, expected, row, Reading(watermark=moment))
        seen.append(versions.current(database, KEY).watermark)
    assert seen == [moments[0], moments[1], moments[1], moments[1]]


def test_the_newest_syncs_come_first(database: OperationalDatabase) -> None:
    for sync_id in ("s1", "s2", "s3"):
        begun(database, sync_id)
    begun(database, "other", ALIKE[0])
    assert [row.sync_id for row in sync_history.recent(database, ACME, 2)] == ["s3", "s2"]
    assert [row.sync_id for row in sync_history.recent(database, None, 9)] == [
        "other",
        "s3",
        "s2",
        "s1",
    ]
    newest = sync_history.newest(database, KEY, (Status.FAILED, Status.EXTRACTING))
    assert newest is not None
    assert newest.sync_id == "s3"
    assert sync_history.newest(database, KEY, (Status.APPLIED,)) is None


def test_every_attempts_error_is_kept_though_the_sync_recovers(
    database: OperationalDatabase,
) -> None:
    for number in (1, 2):
        begun(database, "s1")
        with database.transaction() as transaction:
            ledger.add_error(transaction, KEY, "s1", f"error {number}")
    begun(database, "s1")
    settled(database, outcome("s1", Status.APPLIED))
    kept = ledger.errors(database, KEY, "s1")
    assert [(row["attempt"], row["error"]) for row in kept] == [(1, "error 1"), (2, "error 2")]


def test_only_what_can_go_on_and_is_newest_is_unsettled(database: OperationalDatabase) -> None:
    begun(database, "overtaken")
    begun(database, "open")
    one, other = ALIKE
    begun(database, "given-up", one)
    settled(
        database,
        msgspec.structs.replace(outcome("given-up", Status.FAILED, one), retryable=False),
        one,
    )
    begun(database, "tried-again", other)
    settled(database, outcome("tried-again", Status.FAILED, other))
    assert [row.sync_id for row in sync_history.unsettled(database)] == ["open", "tried-again"]


def test_forgetting_an_integration_leaves_no_row_of_it_and_all_of_others(
    database: OperationalDatabase,
) -> None:
    for ref in ALIKE:
        row = begun(database, "s1", ref)
        assert advanced(database, Version(), row)
        with database.transaction() as transaction:
            ledger.add_error(transaction, StreamKey(USERS, ref), "s1", "an error")
    one, other = ALIKE
    with database.transaction() as transaction:
        ledger.forget(transaction, one)
    for table in ("syncs", "sync_errors", "integration_versions"):
        rows = database.rows(f"SELECT DISTINCT organization_id AS org FROM {table}")
        assert rows == [{"org": other.organization_id}]
