"""Parquet in chunks: one record per row, row group by row group.

Only as many rows as fit into a chunk become JSON objects at a time. The limits on the memory that a
file may take are in `parquet_limits`.

Text in a dictionary is not expanded until a chunk is known to be small: a file of one kilobyte can
hold one value of a megabyte that every row uses.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import IO, Any
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from elt_assets.connectors.files.chunk import BYTES, RECORDS, Chunk, Place, encoded
from elt_assets.connectors.files.parquet_limits import check_footer, check_group
from elt_assets.connectors.limits import FetchLimits
from elt_assets.errors import PageUnreadable

_BUFFER = 2**16
_TELL_APART = {pa.float16(): 2**11, pa.float32(): 2**24}
"""The number from which on two whole numbers can be the same value of the type."""
_CELL = 64
"""Approximate bytes that a value takes in Python in addition to its content."""


def chunks(
    raw: IO[bytes], name: str, at: Place, limits: FetchLimits, keys: Collection[str] = ()
) -> Iterator[Chunk]:
    """The file's rows after `at`; the columns in `keys` hold ids.

    Raises `PageUnreadable` for a file beyond the limits, or with floating-point ids so large that
    two of them can be equal.
    """
    if raw.read(4) != b"PAR1":
        raise PageUnreadable(f"{name} is not a Parquet file (it must not be compressed as a whole)")
    check_footer(raw, name, limits.files)
    with _opened(raw) as file:
        types = [_plain(field.type) for field in file.schema_arrow]
        uuids = _with_uuids(file)
        rows_at_once = _rows_at_once(file)
        group, row = at.get("group", 0), at.get("row", 0)
        while group < file.num_row_groups:
            check_group(raw, name, file, group, limits.files)
            rows = file.metadata.row_group(group).num_rows
            for batch in _batches(file, group, row, rows_at_once):
                _check_ids(batch, keys, name)
                for part in _parts(batch, name, limits.page_bytes):
                    row += part.num_rows
                    after = (
                        {"group": group + 1, "row": 0}
                        if row >= rows
                        else {"group": group, "row": row}
                    )
                    yield Chunk(_body(part, types, uuids, name), part.num_rows, after)
            group, row = group + 1, 0


def _check_ids(batch: pa.RecordBatch, keys: Collection[str], name: str) -> None:
    for field, column in zip(batch.schema, batch.columns, strict=True):
        most = _TELL_APART.get(field.type)
        if field.name not in keys or most is None:
            continue
        largest = pc.max(pc.abs(column.cast(pa.float64()))).as_py()
        if largest is not None and largest >= most:
            raise PageUnreadable(
                f"{name} has ids in {field.name}, a column of the type {field.type}, which cannot "
                f"tell ids from {most:,} on apart; write the column as whole numbers or as text"
            )


def _opened(raw: IO[bytes]) -> pq.ParquetFile:
    metadata = pq.read_metadata(raw)
    texts = [
        metadata.schema.column(index).path
        for index in range(metadata.num_columns)
        if metadata.schema.column(index).physical_type == "BYTE_ARRAY"
    ]
    raw.seek(0)
    return pq.ParquetFile(
        raw, metadata=metadata, read_dictionary=texts, pre_buffer=False, buffer_size=_BUFFER
    )


def _rows_at_once(file: pq.ParquetFile) -> int:
    columns = [file.schema.column(index) for index in range(len(file.schema))]
    row = sum(len(column.path) + _CELL + (column.length or 0) for column in columns)
    return max(1, min(RECORDS, BYTES // max(row, 1)))


def _batches(
    file: pq.ParquetFile, group: int, skipped: int, rows_at_once: int
) -> Iterator[pa.RecordBatch]:
    for batch in file.iter_batches(batch_size=rows_at_once, row_groups=[group]):
        if skipped >= batch.num_rows:
            skipped -= batch.num_rows
            continue
        yield batch.slice(skipped)
        skipped = 0


def _parts(batch: pa.RecordBatch, name: str, most: int) -> Iterator[pa.RecordBatch]:
    """Split the batch into parts no larger than a chunk once their dictionaries are expanded."""
    size = sum(_written_out(column) for column in batch.columns)
    if size <= min(BYTES, most) or batch.num_rows <= 1:
        if size > most:
            raise PageUnreadable(
                f"{name} has a row of {size:,} bytes; the limit is {most:,} (ELT_ASSETS_PAGE_BYTES)"
            )
        yield batch
        return
    half = batch.num_rows // 2
    yield from _parts(batch.slice(0, half), name, most)
    yield from _parts(batch.slice(half), name, most)


def _written_out(column: pa.Array) -> int:
    """Bytes of the column once the values of its dictionaries are expanded."""
    kind = column.type
    if pa.types.is_dictionary(kind) and _is_text(kind.value_type):
        lengths = pc.binary_length(column.dictionary)
        return (pc.sum(pc.take(lengths, column.indices)).as_py() or 0) + _CELL * len(column)
    if pa.types.is_struct(kind):
        return _CELL * len(column) + sum(_written_out(child) for child in column.flatten())
    if pa.types.is_map(kind):
        return _CELL * len(column) + _written_out(_entries(column))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _CELL * len(column) + _written_out(column.flatten())
    return int(column.nbytes) + _CELL * len(column)


def _is_text(kind: pa.DataType) -> bool:
    return any(
        test(kind)
        for test in (
            pa.types.is_string,
            pa.types.is_binary,
            pa.types.is_large_string,
            pa.types.is_large_binary,
        )
    )


def _entries(column: pa.MapArray) -> pa.Array:
    """The keys and values of the maps in these rows, as structs."""
    first, last = column.offsets[0].as_py(), column.offsets[len(column)].as_py()
    return pa.StructArray.from_arrays(
        [column.keys.slice(first, last - first), column.items.slice(first, last - first)],
        names=["key", "value"],
    )


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type without dictionaries in it."""
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_plain(field.type)) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(_plain(kind.key_type), _plain(kind.item_type))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_plain(kind.value_type), kind.list_size)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(_plain(kind.value_type))
    return kind


def _body(
    batch: pa.RecordBatch, types: list[pa.DataType], uuids: frozenset[str], name: str
) -> bytes:
    columns: list[Any] = [
        _whole_microseconds(column if column.type == kind else column.cast(kind))
        for column, kind in zip(batch.columns, types, strict=True)
    ]
    names = batch.schema.names
    try:
        values = [
            [_told(value, each in uuids) for value in column.to_pylist()]
            if _has_bytes(kind)
            else column.to_pylist()
            for each, column, kind in zip(names, columns, types, strict=True)
        ]
    except (ValueError, OverflowError):
        raise PageUnreadable(
            f"{name} has values that JSON cannot hold, such as a year past 9999"
        ) from None
    return encoded([dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)])


def _with_uuids(file: pq.ParquetFile) -> frozenset[str]:
    """Names of the columns that are, or hold, values of the UUID type."""
    columns = [file.schema.column(index) for index in range(len(file.schema))]
    return frozenset(
        column.path.partition(".")[0] for column in columns if column.logical_type.type == "UUID"
    )


def _has_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_nested(kind):
        return any(_has_bytes(kind.field(index).type) for index in range(kind.num_fields))
    return any(
        test(kind)
        for test in (
            pa.types.is_binary,
            pa.types.is_large_binary,
            pa.types.is_binary_view,
            pa.types.is_fixed_size_binary,
        )
    )


def _told(value: Any, uuids: bool) -> Any:
    """Replace bytes in a value by a UUID or by text, where they are one.

    Many writers do not mark their text columns as text. Bytes that are no text stay, and become
    base64 in JSON.
    """
    match value:
        case bytes() if uuids and len(value) == 16:
            return str(UUID(bytes=value))
        case bytes():
            try:
                text = value.decode()
            except UnicodeDecodeError:
                return value
            return value if "\0" in text else text
        case dict():
            return {name: _told(member, uuids) for name, member in value.items()}
        case list():
            return [_told(member, uuids) for member in value]
        case tuple():
            return tuple(_told(member, uuids) for member in value)
    return value


def _whole_microseconds(column: pa.Array) -> pa.Array:
    kind = column.type
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        return column.cast(pa.timestamp("us", kind.tz), safe=False)
    return column
