"""Parquet: rows as JSON, whatever their types."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elt_assets.errors import PageUnreadable
from elt_assets_tests.connectors.files.conftest import OpenFiles, drop, read


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


@pytest.mark.parametrize("content", [b"", b"id\n1\n", b"PAR1 and then nothing PAR1"])
def test_what_is_not_parquet_is_named(folder: Path, users: OpenFiles, content: bytes) -> None:
    drop(folder, "users.parquet", content)
    with pytest.raises(PageUnreadable, match=r"users\.parquet"):
        read(users())
