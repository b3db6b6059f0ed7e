"""Landing pages: rows, dead letters and checkpoint move together or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import duckdb
import pytest

from elt_assets.connectors.source import Page
from elt_assets.errors import ProviderUnavailable
from elt_assets.storage.warehouse.warehouse import transaction
from elt_assets.sync.extract.page_table import PAGES, incoming, pages_table
from elt_assets.sync.outcome import Status
from elt_assets.sync.streams import USERS
from elt_assets_tests.sync.worlds import ACME, Company, World, people, person


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as made:
        yield made


class Miscounting(World):
    """A source that counts one record more than a page holds."""

    def page(self, number: int, since: str | None = None) -> Page:
        page = super().page(number, since)
        return Page(page.body, page.count + (number == 2), page.next)


def rows(company: Company, sql: str) -> list[tuple[Any, ...]]:
    """What a query finds in the integration's warehouse."""
    with company.platform.warehouses.open(ACME, read_only=True) as connection:
        return connection.execute(sql).fetchall()


def split(
    connection: duckdb.DuckDBPyConnection, bodies: list[object], path: tuple[str, ...]
) -> list[tuple[int, Any]]:
    """(seq, record) of every record that the pages hold under `path`."""
    pages = []
    for body in bodies:
        found: Any = body
        for key in path:
            found = found[key]
        pages.append(Page(json.dumps(body, ensure_ascii=False).encode(), len(found), next=None))
    connection.register(PAGES, pages_table(ACME, pages))
    found_rows = connection.execute(incoming(path)).fetchall()
    return [(row[0], json.loads(row[1])) for row in sorted(found_rows)]


def test_a_block_that_ends_well_is_committed(connection: duckdb.DuckDBPyConnection) -> None:
    with transaction(connection):
        connection.execute("CREATE TABLE t AS SELECT 1 AS x")
    assert connection.execute("SELECT x FROM t").fetchall() == [(1,)]


@pytest.mark.parametrize("error", [LookupError, KeyboardInterrupt, ProviderUnavailable])
def test_a_block_that_raises_leaves_nothing(
    connection: duckdb.DuckDBPyConnection, error: type[BaseException]
) -> None:
    connection.execute("CREATE TABLE t (x INTEGER)")

    def fail_inside() -> None:
        with transaction(connection):
            connection.execute("INSERT INTO t VALUES (1)")
            raise error

    with pytest.raises(error):
        fail_inside()
    assert connection.execute("SELECT x FROM t").fetchall() == []
    with transaction(connection):
        connection.execute("INSERT INTO t VALUES (2)")


def test_an_error_that_ended_the_transaction_is_the_one_that_is_told(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    connection.execute("CREATE TABLE t (x INTEGER PRIMARY KEY)")
    with pytest.raises(duckdb.ConstraintException), transaction(connection):
        connection.execute("INSERT INTO t VALUES (1), (1)")


@pytest.mark.parametrize(
    "path",
    [
        (),
        ("items",),
        ("data", "items"),
        ("a.b", "c d"),
        ('say "hi"',),
        ("back\\slash",),
        ("it's",),
        ("$",),
        ("0",),
        ("a/b~c",),
        ("ключ", "😀"),
        ("urn:ietf:params:scim", "Resources"),
    ],
)
def test_the_list_is_found_under_any_names(
    connection: duckdb.DuckDBPyConnection, path: tuple[str, ...]
) -> None:
    def page(*records: object) -> object:
        body: object = list(records)
        for key in reversed(path):
            body = {"decoy": [0], key: body}
        return body

    pages = [page({"id": 1}, 2), page(), page(None, [3], "four")]
    assert split(connection, pages, path) == [
        (0, {"id": 1}),
        (1, 2),
        (2, None),
        (3, [3]),
        (4, "four"),
    ]


@pytest.mark.parametrize("failing", range(11))
def test_after_any_failure_rows_letters_and_checkpoint_agree(
    company: Company, failing: int
) -> None:
    records: list[Any] = [
        person(n) if n % 9 else {"id": f"u-{n}", "name": []} for n in range(1, 101)
    ]
    world = company.connect(world=World(records, page_size=10))
    world.fail_at[failing] = ProviderUnavailable("away")
    outcome = company.sync(pages_per_batch=3)
    kept = len(world.served)
    if failing < 10:
        assert outcome.status is Status.FAILED
    if not kept:
        assert not company.platform.warehouses.exists(ACME)
        return
    ((staged, rejected, cursor, pages),) = rows(
        company,
        "SELECT coalesce(sum(staged), 0), coalesce(sum(rejected), 0),"
        " arg_max_null(cursor, batch), coalesce(sum(pages), 0) FROM extraction_batches",
    )
    assert rows(company, "SELECT count(*) FROM users_staging") == [(staged,)]
    assert rows(company, "SELECT count(*) FROM rejected_records") == [(rejected,)]
    assert staged + rejected == pages * 10 == kept * 10
    assert cursor == (f'{{"page":{pages}}}' if 0 < pages < 10 else None)
    assert (outcome.counts.staged, outcome.counts.rejected) == (staged, rejected)


def test_records_are_numbered_as_they_came_in_each_batch(company: Company) -> None:
    records: list[Any] = [person(n) for n in (5, 3, 9, 1, 7)]
    company.connect(world=World(records, page_size=2))
    company.sync(pages_per_batch=2)
    assert rows(company, "SELECT batch, seq, external_id FROM users_staging ORDER BY 1, 2") == [
        (0, 0, "u-0005"),
        (0, 1, "u-0003"),
        (0, 2, "u-0009"),
        (0, 3, "u-0001"),
        (1, 0, "u-0007"),
    ]


def test_the_record_itself_is_kept_beside_what_was_mapped(company: Company) -> None:
    record = person(1, unmapped={"deep": [1, None]}, updated="2026-01-01T12:00:00+02:00")
    company.connect(world=World([record]))
    company.sync()
    ((raw, updated, organization, integration),) = rows(
        company,
        "SELECT raw, source_updated_at::VARCHAR, organization_id, connected_integration_id"
        " FROM users_staging",
    )
    assert json.loads(raw) == record
    assert updated == "2026-01-01 10:00:00"
    assert (organization, integration) == ("acme", "main")


def test_a_batch_whose_records_are_miscounted_is_refused_and_those_before_it_stay(
    company: Company,
) -> None:
    company.connect(world=Miscounting(people(50), page_size=10))
    outcome = company.sync(pages_per_batch=1)
    assert outcome.status is Status.FAILED
    assert outcome.error is not None
    assert outcome.error.startswith("acme:main: batch 2 holds 11 records by its pages and 10 by")
    assert outcome.counts.staged == 20
    assert rows(company, "SELECT count(*) FROM users_staging") == [(20,)]
    assert company.users() == {}


def test_dead_letters_say_where_the_record_stood(company: Company) -> None:
    records: list[Any] = [*people(4), person(4, name={}), *people(30)[5:]]
    company.connect(world=World(records, page_size=2))
    company.sync(pages_per_batch=2)
    (letter,) = company.platform.rejected(USERS, ACME)
    assert (letter["sync_id"], letter["batch"], letter["seq"]) == ("s1", 1, 0)
    assert letter["raw"] == person(4, name={})


def test_two_syncs_of_one_integration_never_mix(company: Company) -> None:
    world = company.connect(world=World(people(30)))
    world.fail_at[2] = ProviderUnavailable("away")
    company.sync(sync_id="abandoned", pages_per_batch=1)
    world.fail_at.clear()
    world.records = people(12)
    outcome = company.sync(sync_id="s2", pages_per_batch=1)
    assert (outcome.counts.staged, outcome.resumed_batches) == (12, 0)
    assert len(company.users()) == 12
    assert company.platform.counts(USERS, ACME)["staged"] == 12


class Written(World):
    """A source whose one page is written by hand."""

    body: bytes = b""

    def page(self, number: int, since: str | None = None) -> Page:
        return Page(self.body, 1, None)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ('{"items": [{"id": "a"}], "items": [{"id": "b"}]}', Status.FAILED),
        ('{"items": [{"id": "a"}], "\\u0069tems": [{"id": "b"}]}', Status.FAILED),
        ('{"items": [{"id": "a", "items": ["items"]}], "more": {"items": []}}', Status.APPLIED),
        ('{"items": [{"id": "a", "name": "\\u0041"}]}', Status.APPLIED),
    ],
)
def test_a_page_with_two_lists_of_one_name_is_refused_however_it_is_spelled(
    company: Company, body: str, status: Status
) -> None:
    world = Written()
    world.body = body.encode()
    company.connect(world=world)
    outcome = company.sync()
    assert outcome.status is status
    if status is Status.FAILED:
        assert "a page has 'items' more than once" in str(outcome.error)
