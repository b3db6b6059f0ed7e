"""Rows of the latest table as temporary tables beside the warehouse's, to be compared there.

Belongs here: bringing them over, as much of them as is needed. Does not: the statements that
read them (latest) or any comparison (detect, catch_up, compensate, audit).

A hash tells whether a row differs; its image, which is many times as much, is needed only of
rows that do.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

import pyarrow as pa

from elt_assets.errors import RetryableError
from elt_assets.identifiers import IntegrationRef
from elt_assets.stores.operational import OperationalDatabase
from elt_assets.stores.warehouse import ROWS_AT_ONCE, Warehouse
from elt_assets.sync import latest
from elt_assets.sync.stream import Stream


def load_hashes(
    warehouse: Warehouse, database: OperationalDatabase, stream: Stream, ref: IntegrationRef
) -> None:
    """Fill the temporary table latest_rows (id UUID, content_hash)."""
    _load(
        warehouse,
        latest.hashes(database, stream, ref),
        # The casts matter when there are no rows: SQLite's driver then types all as integers.
        "id::VARCHAR::UUID AS id, content_hash::VARCHAR AS content_hash",
    )


def load_images(
    warehouse: Warehouse, database: OperationalDatabase, stream: Stream, ref: IntegrationRef
) -> None:
    """Fill the temporary table latest_rows (id UUID, content_hash, image JSON)."""
    _load(
        warehouse,
        latest.images(database, stream, ref),
        "id::VARCHAR::UUID AS id, content_hash::VARCHAR AS content_hash,"
        " image::VARCHAR::JSON AS image",
    )


def load_images_of(
    warehouse: Warehouse,
    database: OperationalDatabase,
    stream: Stream,
    ref: IntegrationRef,
    ids: str,
) -> None:
    """Fill the temporary table latest_images (id UUID, image JSON) for the rows `ids` selects.

    Raises `RetryableError` when one of them is no longer there.
    """
    warehouse.execute("CREATE OR REPLACE TEMP TABLE latest_images (id UUID, image JSON)")
    wanted = warehouse.execute(f"SELECT id::VARCHAR AS id FROM ({ids}) ORDER BY id")
    for batch in wanted.to_arrow_table(ROWS_AT_ONCE).to_batches():
        part = batch["id"].to_pylist()
        found = latest.images_of(database, stream, ref, part)
        if found.num_rows != len(part):
            raise RetryableError(
                f"{len(part) - found.num_rows} rows of {stream.latest} went while they were "
                "compared; the sync continues when tried again"
            )
        warehouse.connection.register("latest_read", found)
        warehouse.execute("INSERT INTO latest_images SELECT id::UUID, image FROM latest_read")
        warehouse.connection.unregister("latest_read")


def _load(
    warehouse: Warehouse, rows: AbstractContextManager[pa.RecordBatchReader], columns: str
) -> None:
    with rows as reader:
        warehouse.connection.register("latest_read", reader)
        warehouse.execute(
            f"CREATE OR REPLACE TEMP TABLE latest_rows AS SELECT {columns} FROM latest_read"
        )
        warehouse.connection.unregister("latest_read")
