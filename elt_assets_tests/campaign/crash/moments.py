"""Moments: every point between two writes at which a process can be made to die.

The stores count their statements and commits. They are the platform's own: nothing is replaced, and
a moment only happens before and after a real operation. The moment of a death is chosen in
`campaign`.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import duckdb
import pyarrow as pa

from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.ducklake.lake import LakeWarehouses
from elt_assets.storage.operational.database import (
    OperationalDatabase,
    Parameters,
    Row,
    Transaction,
)
from elt_assets.storage.warehouse.warehouse import Warehouse, Warehouses

Death = Literal["SIGKILL", "segmentation fault", "SIGTERM"]

# What is written: `users_cdc`, `lake.users_cdc` or `books."schema".users_cdc`.
_WRITES = re.compile(
    r"""(?:INTO|UPDATE|CREATE\ TABLE)\s+ ((?:lake\.)?) (?:books\."\w+"\.)? "? (\w+)""",
    re.IGNORECASE | re.VERBOSE,
)
_MAKES = re.compile(r"\s*CREATE (TABLE|SCHEMA)\b", re.IGNORECASE)
_MADE = "a table"
_CHANGES = re.compile(r"\s*(INSERT|UPDATE|DELETE|CREATE|ALTER)\b", re.IGNORECASE)
_WRITTEN = {
    # What a transaction is for, by the table that gives it away; the first that fits.
    _MADE: "the schema",
    "lake.users_landed": "the records of a batch",
    "lake.rejected_records": "the records of a batch",
    "lake.users_cdc": "the records of the changes",
    "lake.users_withheld": "the records of the changes",
    "warehouse_schema": "the tables",
    "extraction_batches": "a batch",
    "integration_versions": "applying",
    "connected_integrations": "registering",
    "users_cdc": "the changes",
    "logged_versions": "the changes",
    "missing_records": "the changes",
    "extractions": "continuing the extraction",
    "applied_syncs": "the mark in the log",
    "syncs": "the ledger",
}
_SEAL = "the seal"
_OF_ANY_STORES = frozenset(
    f"{when} the commit of {what}"
    for when in ("before", "after")
    for what in (
        "a batch",
        "a batch and the seal",
        "applying",
        "the changes",
        "the ledger",
        "the mark in the log",
        "registering",
        "the schema",
        "the tables",
    )
) | {
    "before a page",
    "inside a warehouse transaction",
    "inside an operational transaction",
}
BOUNDARIES = _OF_ANY_STORES | {
    "before the file is closed",
    "after the file is closed",
    "before the file is detached for a wait",
    "while the file is detached",
    "after the file is attached again",
}
BOUNDARIES_ON_A_LAKE = (
    _OF_ANY_STORES
    | {
        f"{when} the commit of {what}"
        for when in ("before", "after")
        # Records are committed before the books that name them.
        for what in (
            "the records of a batch",
            "the records of the changes",
            "the catalog",
            "the lake's tables",
        )
    }
    | {
        "inside a transaction of the catalog",
        "after the lease is taken",
        "before the lease is given back",
        "after the lease is given back",
    }
)


@dataclass
class Moments:
    """Counts moments; at number `fatal` (from 0) the process dies by `death`.

    `names` lists those that passed, for finding out what a piece of work consists of.
    """

    fatal: int | None = None
    death: Death = "SIGKILL"
    names: list[str] = field(default_factory=list)
    detached: threading.Event = field(default_factory=threading.Event)
    """Set while a sync waits for its provider and its file is not attached."""
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def reach(self, name: str) -> None:
        """A moment has come."""
        with self._guard:
            number = len(self.names)
            self.names.append(name)
        if number == self.fatal:
            die(self.death)


def die(death: Death) -> None:
    """End this process. Code under test can handle SIGTERM, but not the other deaths."""
    if death == "segmentation fault":
        ctypes.string_at(0)
    os.kill(os.getpid(), signal.SIGKILL if death == "SIGKILL" else signal.SIGTERM)


class WatchedTransaction(Transaction):
    """A transaction with a moment before each statement."""

    def __init__(self, inner: Transaction, moments: Moments, inside: str) -> None:
        super().__init__(inner._connection)
        self.dialect = inner.dialect
        self._inner = inner
        self._moments = moments
        self._inside = inside
        self.written: set[str] = set()

    def execute(self, sql: str, parameters: Parameters = ()) -> int:
        self._moments.reach(self._inside)
        self.written.update({_MADE} if _MAKES.match(sql) else _written(sql))
        return self._inner.execute(sql, parameters)

    def rows(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        return self._inner.rows(sql, parameters)

    def reader(
        self, sql: str, parameters: Parameters = ()
    ) -> AbstractContextManager[pa.RecordBatchReader]:
        return self._inner.reader(sql, parameters)

    @contextmanager
    def ingested(self, table: str, data: pa.RecordBatchReader | pa.Table) -> Iterator[str]:
        self._moments.reach(self._inside)
        with self._inner.ingested(table, data) as name:
            yield name
            self._moments.reach(self._inside)


def watched(
    database: OperationalDatabase,
    moments: Moments,
    *,
    inside: str = "inside an operational transaction",
    purpose: str | None = None,
) -> OperationalDatabase:
    """The database with moments around its commits, all of them for `purpose` if that is given."""
    plain = database.transaction

    @contextmanager
    def transaction(on: str = "") -> Iterator[Transaction]:
        with plain(on) as opened:
            counted = WatchedTransaction(opened, moments, inside)
            yield counted
            what = purpose or _purpose(counted.written)
            moments.reach(f"before the commit of {what}")
        moments.reach(f"after the commit of {what}")

    database.transaction = transaction  # type: ignore[method-assign]
    return database


def watched_warehouses(warehouses: Warehouses, moments: Moments) -> Warehouses:
    """The warehouses with moments around statements and commits."""
    plain, on_a_lake = warehouses.open, isinstance(warehouses, LakeWarehouses)
    end = "the lease is given back" if on_a_lake else "the file is closed"

    @contextmanager
    def opened(ref: IntegrationRef, **options: bool) -> Iterator[Warehouse]:
        with plain(ref, **options) as warehouse:
            moments.reach("after the lease is taken")
            if warehouse.attached:
                warehouse.connection = _watched_connection(warehouse.connection, moments)
            else:
                moments.detached.set()
            if not on_a_lake:
                _watch_waits(warehouse, moments)
            yield warehouse
            moments.reach(f"before {end}")
        moments.reach(f"after {end}")

    warehouses.open = opened  # type: ignore[method-assign]
    if isinstance(warehouses, LakeWarehouses):
        _watch_the_making(warehouses, moments)
    return warehouses


def _watch_waits(warehouse: Warehouse, moments: Moments) -> None:
    plain_detach, plain_attach = warehouse.detach, warehouse.attach
    again = ""

    def detach() -> bool:
        nonlocal again
        again = " again"
        moments.reach("before the file is detached for a wait")
        detached = plain_detach()
        moments.reach("while the file is detached")
        moments.detached.set()
        return detached

    def attach() -> None:
        moments.detached.clear()
        plain_attach()
        warehouse.connection = _watched_connection(warehouse.connection, moments)
        moments.reach(f"after the file is attached{again}")

    warehouse.detach = detach  # type: ignore[method-assign]
    warehouse.attach = attach  # type: ignore[method-assign]


def _watch_the_making(warehouses: LakeWarehouses, moments: Moments) -> None:
    """Let there be moments, too, where the lake itself is made."""
    plain = warehouses._make_tables

    def made(root: duckdb.DuckDBPyConnection) -> None:
        plain(_watched_connection(root, moments, "the lake's tables"))

    warehouses._make_tables = made  # type: ignore[method-assign]
    watched(
        warehouses._catalog._database,
        moments,
        inside="inside a transaction of the catalog",
        purpose="the catalog",
    )


def _watched_connection(
    connection: duckdb.DuckDBPyConnection, moments: Moments, purpose: str | None = None
) -> duckdb.DuckDBPyConnection:
    return cast(duckdb.DuckDBPyConnection, WatchedConnection(connection, moments, purpose))


class WatchedConnection:
    """A DuckDB connection that counts its statements."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, moments: Moments, purpose: str | None
    ) -> None:
        self._connection = connection
        self._moments = moments
        self._purpose = purpose
        self._written: set[str] | None = None
        self._changed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, sql: str, parameters: object = None) -> duckdb.DuckDBPyConnection:
        if sql == "BEGIN":
            self._written, self._changed = set(), False
        elif sql == "COMMIT":
            # On a lake every transaction about books alone comes after one that changes nothing.
            if self._changed:
                return self._committing(sql, None, self._written or set())
        elif self._written is not None:
            self._written.update(_written(sql))
            if "sealed_at" in sql:
                self._written.add(_SEAL)
            self._changed = self._changed or bool(_CHANGES.match(sql))
            self._moments.reach("inside a warehouse transaction")
        elif _WRITES.search(sql) and "TEMP TABLE" not in sql and "found_changes" not in sql:
            return self._committing(sql, parameters, _written(sql))
        result = self._connection.execute(sql, parameters)
        if sql in ("COMMIT", "ROLLBACK"):
            self._written = None
        return result

    def _committing(
        self, sql: str, parameters: object, written: set[str]
    ) -> duckdb.DuckDBPyConnection:
        what = self._purpose or _purpose(written)
        if what == "a batch" and _SEAL in written:
            what = "a batch and the seal"
        self._moments.reach(f"before the commit of {what}")
        result = self._connection.execute(sql, parameters)
        self._written = None
        self._moments.reach(f"after the commit of {what}")
        return result


def _written(sql: str) -> set[str]:
    return {f"{where}{table}" for where, table in _WRITES.findall(sql)}


def _purpose(written: set[str]) -> str:
    if not written:
        return "nothing"
    return next((what for table, what in _WRITTEN.items() if table in written), "the schema")
