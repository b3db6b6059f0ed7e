"""Moments: every point between two writes at which a process can be made to die.

Belongs here: stores that count their statements and commits, and the ways to die. Does
not: choosing a moment (campaign) or what a process does between them (worker).

The stores are the platform's own, subclassed: nothing is replaced, a moment only happens
before and after what they do anyway.
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
from elt_assets.stores.operational import OperationalDatabase, Parameters, Row, Transaction
from elt_assets.stores.warehouse import Warehouse
from elt_assets.stores.warehouse_files import FileWarehouses

Death = Literal["SIGKILL", "segmentation fault", "SIGTERM"]

_WRITES = re.compile(r"(?:INTO|UPDATE|CREATE TABLE)\s+\"?(\w+)", re.IGNORECASE)
_WRITTEN = {
    # What a transaction is for, by the table that gives it away; the first that fits.
    "warehouse_schema": "the tables",
    "extraction_batches": "a batch",
    "integration_versions": "applying",
    "connected_integrations": "registering",
    "users_cdc": "the changes",
    "missing_records": "the changes",
    "extractions": "opening the extraction",
    "applied_syncs": "the mark in the log",
    "syncs": "the ledger",
}
BOUNDARIES = frozenset(
    f"{when} the commit of {what}"
    for when in ("before", "after")
    for what in (
        "a batch",
        "a batch and the seal",
        "applying",
        "opening the extraction",
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
    "before the file is closed",
    "after the file is closed",
}


@dataclass
class Moments:
    """Counts moments; at number `fatal` (from 0) the process dies by `death`.

    `names` lists those that passed, for finding out what a piece of work consists of.
    """

    fatal: int | None = None
    death: Death = "SIGKILL"
    names: list[str] = field(default_factory=list)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def reach(self, name: str) -> None:
        """A moment has come."""
        with self._guard:
            number = len(self.names)
            self.names.append(name)
        if number == self.fatal:
            die(self.death)


def die(death: Death) -> None:
    """End this process. SIGTERM is heard by whoever listens, the others by nobody."""
    if death == "segmentation fault":
        ctypes.string_at(0)
    os.kill(os.getpid(), signal.SIGKILL if death == "SIGKILL" else signal.SIGTERM)


class WatchedTransaction(Transaction):
    """A transaction with a moment before each statement."""

    def __init__(self, inner: Transaction, moments: Moments) -> None:
        super().__init__(inner._connection)
        self.dialect = inner.dialect
        self._inner = inner
        self._moments = moments
        self.written: set[str] = set()

    def execute(self, sql: str, parameters: Parameters = ()) -> int:
        self._moments.reach("inside an operational transaction")
        self.written.update(_WRITES.findall(sql))
        return self._inner.execute(sql, parameters)

    def rows(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        return self._inner.rows(sql, parameters)

    def reader(
        self, sql: str, parameters: Parameters = ()
    ) -> AbstractContextManager[pa.RecordBatchReader]:
        return self._inner.reader(sql, parameters)

    @contextmanager
    def ingested(self, table: str, data: pa.RecordBatchReader | pa.Table) -> Iterator[str]:
        self._moments.reach("inside an operational transaction")
        with self._inner.ingested(table, data) as name:
            yield name
            self._moments.reach("inside an operational transaction")


def watched(database: OperationalDatabase, moments: Moments) -> OperationalDatabase:
    """The operational database with moments around its commits."""
    plain = database.transaction

    @contextmanager
    def transaction(on: str = "") -> Iterator[Transaction]:
        with plain(on) as opened:
            counted = WatchedTransaction(opened, moments)
            yield counted
            what = _purpose(counted.written)
            moments.reach(f"before the commit of {what}")
        moments.reach(f"after the commit of {what}")

    database.transaction = transaction  # type: ignore[method-assign]
    return database


class WatchedWarehouses(FileWarehouses):
    """Warehouse files with moments around statements and commits."""

    moments: Moments

    @contextmanager
    def open(self, ref: IntegrationRef, *, read_only: bool = False) -> Iterator[Warehouse]:
        with super().open(ref, read_only=read_only) as warehouse:
            watched = WatchedConnection(warehouse.connection, self.moments)
            warehouse.connection = cast(duckdb.DuckDBPyConnection, watched)
            yield warehouse
            self.moments.reach("before the file is closed")
        self.moments.reach("after the file is closed")


class WatchedConnection:
    """A DuckDB connection that counts what it is told."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, moments: Moments) -> None:
        self._connection = connection
        self._moments = moments
        self._written: set[str] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, sql: str, parameters: object = None) -> duckdb.DuckDBPyConnection:
        if sql == "BEGIN":
            self._written = set()
        elif sql == "COMMIT":
            return self._committing(sql, None, self._written or set())
        elif self._written is not None:
            self._written.update(_WRITES.findall(sql))
            self._moments.reach("inside a warehouse transaction")
        elif _WRITES.findall(sql) and "TEMP TABLE" not in sql and "found_changes" not in sql:
            return self._committing(sql, parameters, set(_WRITES.findall(sql)))
        return self._connection.execute(sql, parameters)

    def _committing(
        self, sql: str, parameters: object, written: set[str]
    ) -> duckdb.DuckDBPyConnection:
        what = _purpose(written)
        if what == "a batch" and "extractions" in written:
            what = "a batch and the seal"
        self._moments.reach(f"before the commit of {what}")
        result = self._connection.execute(sql, parameters)
        self._written = None
        self._moments.reach(f"after the commit of {what}")
        return result


def _purpose(written: set[str]) -> str:
    if not written:
        return "nothing"
    return next((what for table, what in _WRITTEN.items() if table in written), "the schema")
