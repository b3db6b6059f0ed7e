"""Parquet: rows as JSON, whatever their types."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elt_assets.config.settings import load_settings
from elt_assets.errors import PageUnreadable
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import USERS
from elt_assets_tests.connectors.files.conftest import HR, OpenFiles, drop, read


def test_every_type_has_its_usual_json(folder: Path, users: OpenFiles) -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    table = pa.table(
        {
            "id": pa.array([2**62]),
            "name": ["Zoë"],
            "active": [True],
            "at": pa.array([moment], pa.timestamp("ns", "UTC")),
            "day": [date(2026, 1, 2)],
            "score": [Decimal("1.50")],
            "rate": [float("nan")],
            "tags": [["a", None]],
            "profile": [{"email": "z@example.com"}],
            "token": [uuid.UUID(int=1).bytes],
            "gone": pa.array([None], pa.string()),
        }
    )
    pq.write_table(table, folder / "users.parquet")
    (record,) = read(users())
    assert record == {
        "id": 2**62,
        "name": "Zoë",
        "active": True,
        "at": "2026-01-02T03:04:05Z",
        "day": "2026-01-02",
        "score": "1.50",
        "rate": None,
        "tags": ["a", None],
        "profile": {"email": "z@example.com"},
        "token": "AAAAAAAAAAAAAAAAAAAAAQ==",
        "gone": None,
    }


def test_bytes_that_are_text_are_text(folder: Path, users: OpenFiles) -> None:
    """Impala, Hive and Spark wrote texts without the mark that says so."""
    texts = ["u1", "Zoë", "", None]
    raw = [None if text is None else text.encode() for text in texts]
    table = pa.table(
        {
            "id": pa.array(raw, pa.binary()),
            "large": pa.array(raw, pa.large_binary()),
            "fixed": pa.array([b"ab", b"cd", b"ef", None], pa.binary(2)),
            "tags": pa.array([[one] for one in raw], pa.list_(pa.binary())),
            "profile": [{"mail": one} for one in raw],
            "photo": pa.array([b"\xff\xd8", b"a\0b", None, b"ok"], pa.binary()),
        }
    )
    pq.write_table(table, folder / "users.parquet")
    found = read(users())
    assert [record["id"] for record in found] == texts
    assert [record["large"] for record in found] == texts
    assert [record["fixed"] for record in found] == ["ab", "cd", "ef", None]
    assert [record["tags"] for record in found] == [[text] for text in texts]
    assert [record["profile"]["mail"] for record in found] == texts
    assert [record["photo"] for record in found] == ["/9g=", "YQBi", None, "ok"]


def test_uuids_are_written_as_people_know_them(folder: Path, users: OpenFiles) -> None:
    one, other = "7ed4bffc-f189-40b0-9090-c58e1cba14b8", "61616161-6161-4161-8161-616161616161"
    path = folder / "users.parquet"
    duckdb.sql(
        f"SELECT id::UUID AS id, [id::UUID] AS ids, {{'id': id::UUID}} AS nested"
        f" FROM (VALUES ('{one}'), ('{other}'), (NULL)) AS t(id)"
    ).write_parquet(str(path))
    expected = [{"id": each, "ids": [each], "nested": {"id": each}} for each in (one, other, None)]
    assert read(users()) == expected


def test_whole_numbers_are_the_same_key_as_integers_and_as_fractions(
    platform: SyncService, folder: Path
) -> None:
    def write(kind: pa.DataType, active: list[float]) -> None:
        ids = pa.array(range(101, 121), pa.int64()).cast(kind)
        pq.write_table(pa.table({"id": ids, "on": active}), folder / "users.parquet")

    write(pa.int64(), [1] * 20)
    (first,) = platform.sync(USERS, [HR], sync_id="s1")
    write(pa.float64(), [1.0] * 20)
    (second,) = platform.sync(USERS, [HR], sync_id="s2")
    assert (first.counts.inserts, second.status) == (20, "unchanged")


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[SyncService]:
    with SyncService.open(load_settings(home=tmp_path / "home")) as platform:
        fields = {"external_id": "id", "active": "on"}
        streams = {"users": {"path": "users.parquet", "fields": fields}}
        platform.registry.add(HR, "files", {"settle_seconds": 0, "streams": streams})
        yield platform


@pytest.mark.parametrize("content", [b"", b"id\n1\n", b"PAR1 and then nothing PAR1"])
def test_what_is_not_parquet_is_named(folder: Path, users: OpenFiles, content: bytes) -> None:
    drop(folder, "users.parquet", content)
    with pytest.raises(PageUnreadable, match=r"users\.parquet"):
        read(users())


@pytest.mark.parametrize(
    ("kind", "most"), [(pa.float16(), 2**11), (pa.float32(), 2**24)], ids=["float16", "float32"]
)
def test_ids_that_a_short_float_cannot_tell_apart_are_refused(
    folder: Path, users: OpenFiles, kind: pa.DataType, most: int
) -> None:
    def dropped(*ids: float | None) -> list[Any]:
        column = pa.array([*ids, 1.0, None], pa.float64()).cast(kind)
        numbers = pa.array([most * 4.0] * len(column), pa.float64()).cast(kind)
        pq.write_table(pa.table({"id": column, "n": numbers}), folder / "users.parquet")
        return read(users())

    assert [record["id"] for record in dropped(most - 1, -5)] == [most - 1, -5, 1, None]
    for number in (most, -most, most * 4.0):
        with pytest.raises(PageUnreadable, match=f"in id, a column.*from {most:,} on apart"):
            dropped(number)
