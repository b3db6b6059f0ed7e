"""The operational table: what is read from it, and what changes do to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from elt_assets.config.safeguards import DeleteMode
from elt_assets.config.settings import load_settings
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.from_settings import operational_database
from elt_assets.storage.operational.database import OperationalDatabase
from elt_assets.sync.state import latest_table as latest
from elt_assets.sync.state.store_tables import latest_table
from elt_assets.sync.streams import USERS, StreamKey
from elt_assets_tests.sync.worlds import ACME

# Names that read the same when run together.
ALIKE = IntegrationRef("a", "bc"), IntegrationRef("ab", "c")
CHANGES = pa.schema(
    [
        ("id", pa.string()),
        ("external_id", pa.string()),
        ("name", pa.string()),
        ("email", pa.string()),
        ("active", pa.bool_()),
        ("attributes", pa.string()),
        ("content_hash", pa.string()),
        ("change_type", pa.string()),
    ]
)


@pytest.fixture
def database(backend: str) -> Iterator[OperationalDatabase]:
    made = operational_database(load_settings())
    made.migrate(also=[latest_table(USERS, made.dialect)])
    yield made
    made.close()


def change(key: str, change_type: str = "INSERT", **values: Any) -> dict[str, Any]:
    gone = change_type == "DELETE"
    return {
        "id": f"id-{key}",
        "external_id": key,
        "name": None if gone else f"Person {key}",
        "email": None,
        "active": None if gone else True,
        "attributes": None if gone else "{}",
        "content_hash": None if gone else "hash",
        "change_type": change_type,
        **values,
    }


def apply(
    database: OperationalDatabase,
    *changes: dict[str, Any],
    ref: IntegrationRef = ACME,
    delete_mode: DeleteMode = "hard",
    now: str = "2026-01-01T00:00:00.000000Z",
) -> None:
    table = pa.Table.from_pylist(list(changes), CHANGES)
    with database.transaction() as transaction:
        latest.apply_changes(
            transaction, StreamKey(USERS, ref), table.to_reader(), delete_mode=delete_mode, now=now
        )


def listed(database: OperationalDatabase, ref: IntegrationRef = ACME) -> dict[str, dict[str, Any]]:
    return {row["external_id"]: row for row in latest.listing(database, StreamKey(USERS, ref))}


def images(database: OperationalDatabase, ref: IntegrationRef = ACME) -> list[dict[str, Any]]:
    with latest.images(database, StreamKey(USERS, ref)) as reader:
        rows: list[dict[str, Any]] = reader.read_all().to_pylist()
    return rows


def test_changes_of_all_three_kinds_are_applied_together(database: OperationalDatabase) -> None:
    apply(database, change("a"), change("b"), change("c"))
    apply(
        database,
        change("a", "DELETE"),
        change("b", "UPDATE", name="Renamed"),
        change("d", "INSERT"),
    )
    assert {key: row["name"] for key, row in listed(database).items()} == {
        "b": "Renamed",
        "c": "Person c",
        "d": "Person d",
    }


def test_values_of_every_kind_are_read_back_as_they_were(database: OperationalDatabase) -> None:
    attributes = {"team": {"name": 'Größe "x" 😀', "tags": [1, None, True]}, "null": "\0"}
    values = {
        "nothing": change("nothing", active=None, name=None),
        "empty": change("empty", active=False, name="", email=""),
        "odd": change("odd", name="O'Brien \"\\\n\u2028", attributes=json.dumps(attributes)),
    }
    apply(database, *values.values())
    rows = listed(database)
    assert (rows["nothing"]["name"], rows["nothing"]["active"]) == (None, None)
    assert (rows["empty"]["name"], rows["empty"]["active"]) == ("", False)
    assert rows["odd"]["name"] == "O'Brien \"\\\n\u2028"
    assert rows["odd"]["attributes"] == attributes
    for key, row in rows.items():
        (image,) = [json.loads(i["image"]) for i in images(database) if i["id"] == f"id-{key}"]
        names = ("external_id", "name", "email", "active", "attributes")
        # As text, because to Python 1 is True.
        assert json.dumps(image) == json.dumps({name: row[name] for name in names})


def test_the_first_sight_of_a_user_is_kept_and_the_last_change_noted(
    database: OperationalDatabase,
) -> None:
    apply(database, change("a"), change("b"), now="2026-01-01")
    apply(database, change("a", "UPDATE", name="Renamed"), now="2026-01-02")
    rows = listed(database)
    assert (rows["a"]["first_seen"], rows["a"]["last_updated"]) == ("2026-01-01", "2026-01-02")
    assert (rows["b"]["first_seen"], rows["b"]["last_updated"]) == ("2026-01-01", "2026-01-01")


def test_applying_twice_is_applying_once(database: OperationalDatabase) -> None:
    changes = change("a"), change("b", "DELETE"), change("c", "UPDATE")
    for _ in range(2):
        apply(database, *changes)
    assert list(listed(database)) == ["a", "c"]


def test_users_are_listed_in_order_of_their_keys(database: OperationalDatabase) -> None:
    keys = ["10", "9", "B", "a", "ä", "😀"]
    apply(database, *(change(key) for key in reversed(keys)))
    assert list(listed(database)) == sorted(keys, key=str.encode)


def test_one_tenants_changes_never_touch_another_though_even_the_ids_are_the_same(
    database: OperationalDatabase,
) -> None:
    one, other = ALIKE
    for ref in ALIKE:
        apply(database, change("a"), change("b"), ref=ref)
    apply(database, change("a", "DELETE"), change("b", "UPDATE", name="Renamed"), ref=one)
    assert list(listed(database, one)) == ["b"]
    assert {key: row["name"] for key, row in listed(database, other).items()} == {
        "a": "Person a",
        "b": "Person b",
    }
    assert [latest.count(database, StreamKey(USERS, ref)) for ref in ALIKE] == [1, 2]
    assert [len(images(database, ref)) for ref in ALIKE] == [1, 2]
    with database.transaction() as transaction:
        latest.remove_all(transaction, StreamKey(USERS, one))
    assert [latest.count(database, StreamKey(USERS, ref)) for ref in ALIKE] == [0, 2]


def test_no_rows_are_no_images(database: OperationalDatabase) -> None:
    assert images(database) == []
    assert latest.count(database, StreamKey(USERS, ACME)) == 0


def test_a_row_kept_as_deleted_is_neither_listed_nor_counted_nor_compared(
    database: OperationalDatabase,
) -> None:
    apply(database, change("a"), change("b"))
    apply(database, change("a", "DELETE"), delete_mode="soft", now="2026-01-02")
    assert list(listed(database)) == ["b"]
    assert latest.count(database, StreamKey(USERS, ACME)) == 1
    assert [image["id"] for image in images(database)] == ["id-b"]
    kept = database.rows("SELECT external_id, deleted_at FROM users_latest ORDER BY external_id")
    assert kept == [
        {"external_id": "a", "deleted_at": "2026-01-02"},
        {"external_id": "b", "deleted_at": None},
    ]
    apply(database, change("a"))
    assert list(listed(database)) == ["a", "b"]


def test_a_large_integration_is_applied_and_read_in_streams(database: OperationalDatabase) -> None:
    apply(database, *(change(f"{number:05}") for number in range(12_000)))
    assert latest.count(database, StreamKey(USERS, ACME)) == 12_000
    with latest.images(database, StreamKey(USERS, ACME)) as reader:
        sizes = [batch.num_rows for batch in reader]
    assert sum(sizes) == 12_000
    assert len(sizes) > 1


def test_a_table_made_anew_holds_its_rows_alone_and_no_other_tenants(
    database: OperationalDatabase,
) -> None:
    one, other = ALIKE
    for ref in ALIKE:
        apply(database, change("a"), change("b"), ref=ref)
    rows = pa.table(
        {
            "id": ["id-b", "id-c"],
            "external_id": ["b", "c"],
            "name": ["Rebuilt", None],
            "email": pa.array([None, ""], pa.string()),
            "active": [True, None],
            "attributes": ["{}", '{"team":null}'],
            "content_hash": ["x", "y"],
            "first_seen": ["2026-01-01", "2026-01-02"],
            "last_updated": ["2026-01-03", "2026-01-04"],
        }
    )
    with database.transaction() as transaction:
        latest.replace_all(transaction, StreamKey(USERS, one), rows.to_reader())
    found = listed(database, one)
    assert {key: (row["name"], row["email"]) for key, row in found.items()} == {
        "b": ("Rebuilt", None),
        "c": (None, ""),
    }
    assert found["b"]["first_seen"] == "2026-01-01"
    assert list(listed(database, other)) == ["a", "b"]
