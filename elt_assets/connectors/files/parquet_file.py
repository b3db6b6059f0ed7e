"""Parquet in chunks: a record a row, row group by row group.

Belongs here: rows as JSON objects. Does not: anything about the columns a stream wants.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from elt_assets.connectors.files.chunk import RECORDS, Chunk, Place, encoded
from elt_assets.errors import PageUnreadable


def chunks(raw: IO[bytes], name: str, at: Place) -> Iterator[Chunk]:
    """The file's rows behind `at`."""
    if raw.read(4) != b"PAR1":
        raise PageUnreadable(f"{name} is not a Parquet file (it must not be compressed as a whole)")
    with pq.ParquetFile(raw, pre_buffer=False) as file:
        group, row = at.get("group", 0), at.get("row", 0)
        while group < file.num_row_groups:
            rows = file.metadata.row_group(group).num_rows
            for batch in _batches(file, group, row):
                row += batch.num_rows
                after = (
                    {"group": group + 1, "row": 0} if row >= rows else {"group": group, "row": row}
                )
                yield Chunk(_body(batch, name), batch.num_rows, after)
            group, row = group + 1, 0


def _batches(file: pq.ParquetFile, group: int, skipped: int) -> Iterator[pa.RecordBatch]:
    for batch in file.iter_batches(batch_size=RECORDS, row_groups=[group]):
        if skipped >= batch.num_rows:
            skipped -= batch.num_rows
            continue
        yield batch.slice(skipped)
        skipped = 0


def _body(batch: pa.RecordBatch, name: str) -> bytes:
    columns = [_whole_microseconds(column) for column in batch.columns]
    try:
        values = [column.to_pylist() for column in columns]
    except (ValueError, OverflowError):
        raise PageUnreadable(
            f"{name} has values that JSON cannot hold, such as a year past 9999"
        ) from None
    names = batch.schema.names
    return encoded([dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)])


def _whole_microseconds(column: pa.Array) -> pa.Array:
    kind = column.type
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        return column.cast(pa.timestamp("us", kind.tz), safe=False)
    return column
