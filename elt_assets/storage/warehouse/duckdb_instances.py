"""DuckDB instances: created once, kept, and lent to one integration at a time.

Creating an instance costs about 9 ms, attaching a file to an existing one about half a millisecond.
An instance is never shared by two integrations at once, so that a fatal error in one file stays
with its integration.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import duckdb
from pydantic import ByteSize, TypeAdapter

from elt_assets.storage.warehouse.canonical_json import add_canonical_json
from elt_assets.storage.warehouse.pandas_lookup import remember_absent_pandas
from elt_assets.storage.warehouse.prepared_queries import PreparedQueries

SPILL_LIMIT = "16GB"
"""The most bytes that one integration may spill from memory to disk."""

_TRIMMED_AFTER = 200
"""Loans of an instance after which freed memory is returned to the system; otherwise it would grow
with the number of integrations."""


class Instance:
    """A DuckDB instance that is kept, with its prepared queries and its settings.

    Its memory limit is `usual` bytes plus a temporary addition.
    """

    def __init__(self, root: duckdb.DuckDBPyConnection, usual: int) -> None:
        self.root = root
        self.prepared = PreparedQueries(root)
        self._usual = usual
        self._added = 0
        self._lent = 0
        self._compresses: bool | None = None

    @contextmanager
    def cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A separate connection, closed when the block ends."""
        connection = self.root.cursor()
        try:
            yield connection
        finally:
            connection.close()

    def make_room(self, added: int) -> None:
        """Raise the memory limit to at least `added` bytes above the usual one."""
        if added > self._added:
            self._limit(added)

    def compress(self, wanted: bool) -> None:
        """Turn compression of the data that is written from now on, on or off."""
        if wanted is not self._compresses:
            self._set("force_compression", "auto" if wanted else "uncompressed")
            self._compresses = wanted

    def trim(self) -> None:
        """Return freed memory to the system, which DuckDB does when its limit is set.

        Otherwise the C library keeps the memory in an arena for each thread.
        """
        self._limit(self._added)

    def given_back(self) -> None:
        """Restore the usual memory limit. DuckDB raises an error while more memory is in use."""
        self._lent += 1
        if self._added:
            self._limit(0)
        elif self._lent % _TRIMMED_AFTER == 0:
            self.trim()

    def _limit(self, added: int) -> None:
        self._set("memory_limit", f"{self._usual + added}B")
        self._added = added

    def _set(self, option: str, value: str) -> None:
        # A separate cursor, because another thread may be running a query.
        with self.cursor() as cursor:
            cursor.execute(f"SET GLOBAL {option} = '{value}'")


def nothing(_: duckdb.DuckDBPyConnection) -> None:
    """A set-up that does nothing."""


class Instances:
    """A pool of instances.

    `threads` and `memory_limit` (for example '512MB') limit each instance. `spill` is the folder
    for data that does not fit into memory; `close` removes it. `set_up` is called once for each
    instance.
    """

    def __init__(
        self,
        *,
        threads: int,
        memory_limit: str,
        spill_limit: str = SPILL_LIMIT,
        spill: Path,
        options: Mapping[str, str] | None = None,
        set_up: Callable[[duckdb.DuckDBPyConnection], None] = nothing,
    ) -> None:
        remember_absent_pandas()
        self._spill = spill
        self._spill_limit = int(TypeAdapter(ByteSize).validate_python(spill_limit))
        self._memory = int(TypeAdapter(ByteSize).validate_python(memory_limit))
        self._config: dict[str, str | bool | int | float | list[str]] = {
            "threads": threads,
            "memory_limit": f"{self._memory}B",
            "temp_directory": str(spill),
            # A machine without internet access must not wait for an extension that is not needed.
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            **(options or {}),
        }
        self._set_up = set_up
        self._idle: list[Instance] = []
        self._idle_guard = threading.Lock()

    @contextmanager
    def lent(self) -> Iterator[Instance]:
        """Lend an instance to the block; if the block fails, the instance is not used again."""
        instance = self._borrow()
        healthy = False
        try:
            yield instance
            healthy = True
        finally:
            if healthy:
                instance.given_back()
                with self._idle_guard:
                    self._idle.append(instance)
            else:
                # Closing the instance rolls back, detaches all files and discards any state that
                # the error left behind.
                instance.root.close()

    def close(self) -> None:
        """Close the instances kept for reuse and remove spill files."""
        with self._idle_guard:
            idle, self._idle = self._idle, []
        for instance in idle:
            instance.root.close()
        shutil.rmtree(self._spill, ignore_errors=True)

    def _borrow(self) -> Instance:
        with self._idle_guard:
            if self._idle:
                return self._idle.pop()
        # DuckDB creates the folder itself, but not its parents.
        self._spill.parent.mkdir(parents=True, exist_ok=True, mode=0o770)
        root = duckdb.connect(":memory:", config=self._config)
        try:
            # Times without an offset are UTC, whatever the machine's time zone.
            root.execute("SET GLOBAL TimeZone = 'UTC'")
            # If this option is in the configuration, DuckDB 1.5.5 reports it but ignores it.
            root.execute(f"SET GLOBAL max_temp_directory_size = '{self._spill_limit}B'")
            add_canonical_json(root)
            self._set_up(root)
        except BaseException:
            root.close()
            raise
        return Instance(root, self._memory)
