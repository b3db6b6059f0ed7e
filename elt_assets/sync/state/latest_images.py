"""Rows of the latest table as temporary tables of the warehouse, to be compared there.

A hash shows whether a row differs. Its image is many times as large, and is copied only for rows
that differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

import pyarrow as pa

from elt_assets.errors import RetryableError
from elt_assets.storage.arrow_chunks import ROWS_AT_ONCE
from elt_assets.storage.operational.database import OperationalDatabase
from elt_assets.storage.warehouse.warehouse import Warehouse, one_row
from elt_assets.sync.state import latest_table
from elt_assets.sync.streams import StreamKey

# The casts matter when there are no rows: SQLite's driver then types all columns as integers.
_HASHES = "id::VARCHAR::UUID AS id, content_hash::VARCHAR AS content_hash"


@dataclass(frozen=True, slots=True)
class LatestImages:
    """One integration's latest rows, to be copied into its warehouse."""

    warehouse: Warehouse
    database: OperationalDatabase
    key: StreamKey

    def load_hashes(self) -> int:
        """Fill the temporary table latest_rows (id UUID, content_hash); return the row count."""
        with latest_table.hashes(self.database, self.key) as rows:
            first = next(rows, None)
            if first is None or not first.num_rows:
                # Reading no rows takes four times as long.
                self.warehouse.execute(
                    "CREATE OR REPLACE TEMP TABLE latest_rows (id UUID, content_hash VARCHAR)"
                )
                return 0
            whole = pa.RecordBatchReader.from_batches(rows.schema, chain([first], rows))
            return self._fill(whole, _HASHES)

    def load(self) -> None:
        """Fill the temporary table latest_rows (id UUID, content_hash, image JSON)."""
        with latest_table.images(self.database, self.key) as rows:
            self._fill(rows, f"{_HASHES}, image::VARCHAR::JSON AS image")

    def load_none(self) -> None:
        """Create the temporary table latest_images (id UUID, image JSON), empty."""
        self.warehouse.execute("CREATE OR REPLACE TEMP TABLE latest_images (id UUID, image JSON)")

    def load_of(self, ids: str) -> int:
        """Fill latest_images with the rows that the query `ids` selects; return how many there are.

        Raises `RetryableError` when one of the rows no longer exists.
        """
        self.load_none()
        loaded = 0
        wanted = self.warehouse.execute(f"SELECT id::VARCHAR AS id FROM ({ids}) ORDER BY id")
        for batch in wanted.to_arrow_table(ROWS_AT_ONCE).to_batches():
            part = batch["id"].to_pylist()
            found = latest_table.images_of(self.database, self.key, part)
            if found.num_rows != len(part):
                raise RetryableError(
                    f"{len(part) - found.num_rows} rows of {self.key.stream.latest} disappeared "
                    "while they were compared; the sync continues when tried again"
                )
            loaded += self._read(
                found, "INSERT INTO latest_images SELECT id::UUID, image FROM latest_read"
            )
        return loaded

    def _fill(self, rows: pa.RecordBatchReader, columns: str) -> int:
        return self._read(
            rows, f"CREATE OR REPLACE TEMP TABLE latest_rows AS SELECT {columns} FROM latest_read"
        )

    def _read(self, rows: pa.Table | pa.RecordBatchReader, statement: str) -> int:
        """Run a statement that copies `rows`, named latest_read; return the number of rows."""
        self.warehouse.connection.register("latest_read", rows)
        (copied,) = one_row(self.warehouse, statement, {})
        self.warehouse.connection.unregister("latest_read")
        return int(copied)
