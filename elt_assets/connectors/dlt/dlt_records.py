"""Encode Python objects or Arrow tables as the JSON list of a page.

Whole pages are encoded at once. A record that JSON cannot represent is replaced by a marker.
"""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import pyarrow as pa
from pydantic import BaseModel

from elt_assets.connectors.json.malformed_records import UNREADABLE
from elt_assets.connectors.json.record_list import sound_list

_ROWS = 1_000
_UNHOLDABLE = (TypeError, ValueError, OverflowError, RecursionError)


def encoded(records: Sequence[Any]) -> bytes:
    """A JSON list of `records`."""
    try:
        body = _ENCODER.encode(records)
    except _UNHOLDABLE:
        pass
    else:
        # Decimals are written as they are, but a decimal NaN or Infinity is no JSON number.
        if b"NaN" not in body and b"Infinity" not in body:
            return body
    return sound_list([_record(record) for record in records], lambda _: "the record")


def each(items: Iterable[Any]) -> Iterator[Any]:
    """Yield each record; each row of an Arrow table becomes an object."""
    for item in items:
        match item:
            case pa.Table():
                for batch in item.to_batches(max_chunksize=_ROWS):
                    yield from _rows(batch)
            case pa.RecordBatch():
                for start in range(0, item.num_rows, _ROWS):
                    yield from _rows(item.slice(start, _ROWS))
            case _:
                yield item


def _rows(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    columns = [_whole_microseconds(column).to_pylist() for column in batch.columns]
    names = batch.schema.names
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _whole_microseconds(column: pa.Array) -> pa.Array:
    # Python's times have no nanoseconds, and Arrow refuses to drop them when it converts.
    kind = column.type
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        return column.cast(pa.timestamp("us", kind.tz), safe=False)
    return column


def _record(record: Any) -> bytes:
    try:
        return _ENCODER.encode(record)
    except _UNHOLDABLE:
        found: dict[str, Any] = {UNREADABLE: "a value in it is nothing that JSON can hold"}
        # The other values stay: the record's key is often among them and keeps its user from
        # being deleted.
        for name, value in record.items() if isinstance(record, Mapping) else ():
            if isinstance(name, str) and name != UNREADABLE and _holdable(name, value):
                found[name] = value
        return _ENCODER.encode(found)


def _holdable(name: str, value: Any) -> bool:
    try:
        _ENCODER.encode({name: value})
    except _UNHOLDABLE:
        return False
    return True


def _plain(value: Any) -> Any:
    """Replace an object that the encoder does not know. Raises `TypeError` if that fails."""
    match value:
        case BaseModel():
            return value.model_dump(mode="json")
        case datetime.date() | datetime.time():
            return value.isoformat()
        case decimal.Decimal():
            return decimal.Decimal(value)
    raise TypeError(type(value).__name__)


_ENCODER = msgspec.json.Encoder(enc_hook=_plain, decimal_format="number")
