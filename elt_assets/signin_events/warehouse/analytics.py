"""The analytics warehouse: one DuckDB file with all organizations' events.

It is opened for one statement or transaction at a time, and another thread can interrupt that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import duckdb

from elt_assets.config.settings import Settings
from elt_assets.signin_events.interruption import Interruption
from elt_assets.signin_events.warehouse.analytics_tables import has_analytics, prepare_analytics
from elt_assets.storage.warehouse.warehouse import SharedFile
from elt_assets.storage.warehouse.warehouse_files import FileWarehouses

FILE = SharedFile("analytics")


@contextmanager
def in_any_order(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """While the block runs, let DuckDB write rows in any order, which takes less memory.

    If a statement of the block fails, the setting remains: do not use the connection any further.
    """
    connection.execute("SET preserve_insertion_order = false")
    yield
    connection.execute("SET preserve_insertion_order = true")


class Analytics:
    """The file of the analytics warehouse. It has one writer at a time, so open it only briefly."""

    def __init__(
        self, settings: Settings, *, memory_limit: str | None = None, threads: int | None = None
    ) -> None:
        """`memory_limit` and `threads` override the settings."""
        self._warehouses = FileWarehouses(
            settings.analytics_path,
            threads=threads or settings.events_threads,
            memory_limit=memory_limit or settings.events_memory,
            lock_wait=settings.events_lock_wait,
            spill=f".spill-events-{uuid4().hex}",
            log_size="128MB",
        )

    @property
    def exists(self) -> bool:
        """Whether anything was ever written."""
        return self._warehouses.exists(FILE)

    @contextmanager
    def writing(self, stop: Interruption) -> Iterator[duckdb.DuckDBPyConnection]:
        """Lend a connection for writing; a request through `stop` interrupts its statement.

        Raises `WarehouseBusy` when the file stays locked, and `Stopped`.
        """
        stop.check()
        with (
            self._warehouses.open_shared(FILE) as connection,
            stop.reaching(connection.interrupt),
        ):
            prepare_analytics(connection)
            yield connection

    @contextmanager
    def reading(self) -> Iterator[duckdb.DuckDBPyConnection | None]:
        """Lend a connection for reading; None while nothing was ever written."""
        if not self.exists:
            yield None
            return
        with self._warehouses.open_shared(FILE, read_only=True) as connection:
            yield connection if has_analytics(connection) else None

    def rows(self, sql: str, parameters: Mapping[str, object] | None = None) -> list[Any]:
        """The rows of a query; empty while nothing was ever written."""
        with self.reading() as connection:
            if connection is None:
                return []
            return connection.execute(sql, dict(parameters or {})).fetchall()

    def compact(self) -> int:
        """Rewrite the file without deleted data; return the number of bytes freed."""
        before, after = self._warehouses.compact(FILE)
        return before - after

    def close(self) -> None:
        """Close the connections that are kept open."""
        self._warehouses.close()
