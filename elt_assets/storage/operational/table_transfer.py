"""Copy tables from one operational database to another, and compare them.

Rows travel as JSON arrays: one text that is never NULL, which every driver can stream.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any

import msgspec
import pyarrow as pa

from elt_assets.errors import PermanentError
from elt_assets.storage.arrow_chunks import ROWS_AT_ONCE
from elt_assets.storage.operational.database import TableColumn, Transaction

_ARROW = {
    "text": pa.string(),
    "integer": pa.int64(),
    "real": pa.float64(),
    "boolean": pa.bool_(),
}
_TRUTHS: dict[str, type[int]] = {"boolean": bool, "integer": int}


def copy_rows(
    source: Transaction, target: Transaction, table: str, columns: Sequence[TableColumn]
) -> int:
    """Copy a table's rows into the same table of `target`; return the number of rows.

    `columns` are the columns of the target's table.
    """
    schema = pa.schema([(column.name, _ARROW[column.kind]) for column in columns])
    names = ", ".join(_quoted(columns))
    with (
        source.reader(_query(source, table, columns)) as rows,
        target.ingested(
            "copied",
            pa.RecordBatchReader.from_batches(schema, _batches(_decoded(rows), columns, schema)),
        ) as copied,
    ):
        return target.execute(
            f"INSERT INTO {table} ({names}) SELECT {names} FROM {copied} WHERE true"
        )


def compare_rows(
    source: Transaction, target: Transaction, table: str, columns: Sequence[TableColumn]
) -> int:
    """Compare every row of a table; return the number of rows.

    Raises `PermanentError` with the key of the first row that differs.
    """
    compared = 0
    with (
        source.reader(_query(source, table, columns)) as theirs,
        target.reader(_query(target, table, columns)) as ours,
    ):
        for there, here in zip_longest(_decoded(theirs), _decoded(ours)):
            if there is None or here is None or _normal(there) != _normal(here):
                found = there or here or []
                key = ", ".join(
                    str(value) for column, value in zip(columns, found, strict=True) if column.key
                )
                raise PermanentError(f"{table} differs at the row ({key})")
            compared += 1
    return compared


def _query(source: Transaction, table: str, columns: Sequence[TableColumn]) -> str:
    keys = sorted((column for column in columns if column.key), key=lambda column: column.key)
    return (
        f'SELECT {source.dialect.json_array(_quoted(columns))} AS "row"'
        f" FROM {table} ORDER BY {', '.join(_quoted(keys))}"
    )


def _decoded(rows: pa.RecordBatchReader) -> Iterator[list[Any]]:
    decoder = msgspec.json.Decoder(list[Any])
    for batch in rows:
        for text in batch.column(0).to_pylist():
            yield decoder.decode(text)


def _batches(
    rows: Iterator[list[Any]], columns: Sequence[TableColumn], schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    waiting: list[list[Any]] = []
    for row in rows:
        waiting.append(row)
        if len(waiting) == ROWS_AT_ONCE:
            yield _batch(waiting, columns, schema)
            waiting = []
    if waiting:
        yield _batch(waiting, columns, schema)


def _batch(
    rows: list[list[Any]], columns: Sequence[TableColumn], schema: pa.Schema
) -> pa.RecordBatch:
    values = [[*column] for column in zip(*rows, strict=True)]
    for place, column in enumerate(columns):
        if column.kind in _TRUTHS:
            # SQLite has no booleans and stores 0 and 1.
            made = _TRUTHS[column.kind]
            values[place] = [None if value is None else made(value) for value in values[place]]
    return pa.RecordBatch.from_arrays(
        [pa.array(found, field.type) for found, field in zip(values, schema, strict=True)],
        schema=schema,
    )


def _normal(row: list[Any]) -> list[Any]:
    """The row as both databases can hold it: PostgreSQL's text cannot contain NUL."""
    return [value.replace("\x00", "\ufffd") if isinstance(value, str) else value for value in row]


def _quoted(columns: Sequence[TableColumn]) -> list[str]:
    return [f'"{column.name}"' for column in columns]
