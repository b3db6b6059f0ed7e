"""Stores that can be made to die at any commit.

They count the commit boundaries of both stores and end at a chosen one, by an exception or by the
death of the process. These are the real stores: exactly what a real process would have committed at
that moment is committed.
"""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import duckdb

from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.operational.database import OperationalDatabase, Transaction
from elt_assets.storage.warehouse.warehouse import Warehouse, Warehouses

_WRITES = re.compile(r"\s*(INSERT|UPDATE|DELETE|CREATE(?! OR REPLACE TEMP)|DROP|ALTER)\b", re.I)


class Crash(BaseException):
    """The process ends here. Not an `Exception`: nothing in the platform may handle it."""


def die() -> None:
    """End as a power cut would."""
    os.kill(os.getpid(), signal.SIGKILL)


def raise_crash() -> None:
    """End everything that runs above the stores."""
    raise Crash


class Boundaries:
    """The moments just before and just after every commit; once armed, `crash` ends one."""

    def __init__(self, crash: Callable[[], None] = raise_crash) -> None:
        self._crash = crash
        self._left: int | None = None
        self._guard = threading.Lock()

    def arm(self, moment: int) -> None:
        """Crash at the boundary that comes after `moment` others."""
        self._left = moment

    def cross(self) -> None:
        """Pass a boundary, or end at it."""
        with self._guard:
            here = self._left
            if here is not None:
                self._left = here - 1
        if here == 0:
            self._crash()


def watched(database: OperationalDatabase, boundaries: Boundaries) -> OperationalDatabase:
    """The same database, each transaction of which ends with two boundaries."""
    plain = database.transaction

    @contextmanager
    def transaction(on: str = "") -> Iterator[Transaction]:
        with plain(on) as opened:
            yield opened
            boundaries.cross()
        boundaries.cross()

    database.transaction = transaction  # type: ignore[method-assign]
    return database


def watched_warehouses(warehouses: Warehouses, boundaries: Boundaries) -> Warehouses:
    """The same warehouses, each commit to one of which lies between two boundaries."""
    plain = warehouses.open

    @contextmanager
    def opened(ref: IntegrationRef, **options: bool) -> Iterator[Warehouse]:
        with plain(ref, **options) as warehouse:
            plain_attach = warehouse.attach

            def watch() -> None:
                watched: Any = _WatchedConnection(warehouse.connection, boundaries)
                warehouse.connection = watched

            def attach() -> None:
                plain_attach()
                watch()

            warehouse.attach = attach  # type: ignore[method-assign]
            if warehouse.attached:
                watch()
            yield warehouse

    warehouses.open = opened  # type: ignore[method-assign]
    return warehouses


class _WatchedConnection:
    """A connection that passes boundaries around whatever commits."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, boundaries: Boundaries) -> None:
        self._connection = connection
        self._boundaries = boundaries
        self._in_transaction = False
        self._has_written = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, sql: str, *parameters: Any) -> Any:
        word = sql.strip().upper()
        writes = bool(_WRITES.match(sql))
        # What commits nothing is no boundary: a lake has such a transaction beside every one
        # that is about books alone.
        commits = self._has_written if word == "COMMIT" else writes and not self._in_transaction
        if word in ("BEGIN", "COMMIT", "ROLLBACK"):
            self._in_transaction, self._has_written = word == "BEGIN", False
        else:
            self._has_written = self._in_transaction and (writes or self._has_written)
        if not commits:
            return self._connection.execute(sql, *parameters)
        self._boundaries.cross()
        result = self._connection.execute(sql, *parameters)
        self._boundaries.cross()
        return result
