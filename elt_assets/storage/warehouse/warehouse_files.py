"""The warehouse as files: one small DuckDB file per integration, and files that all of them share.

A lease (`leases`) excludes a second sync of an integration, even while the first has detached the
file. While the file is attached, DuckDB's lock on it excludes readers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from elt_assets.errors import (
    InvalidInput,
    PermanentError,
    WarehouseBusy,
    WarehouseDamaged,
)
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.warehouse.database_file import (
    identity,
    reach_the_disk,
    rewritten,
    size_of,
    unlink,
    whole_or_made_here,
    written,
)
from elt_assets.storage.warehouse.duckdb_instances import SPILL_LIMIT, Instance, Instances
from elt_assets.storage.warehouse.file_errors import (
    make_folder,
    refused_by_system,
    removed,
    translated,
)
from elt_assets.storage.warehouse.leases import Leases
from elt_assets.storage.warehouse.memos import delete_memos, read_memos, write_memos
from elt_assets.storage.warehouse.warehouse import (
    TENANT,
    Parameters,
    Place,
    SharedFile,
    Upkeep,
    Warehouse,
    WarehouseLayout,
    Warehouses,
    literal,
    one_row,
    probe_writable,
    tenant_columns,
    transaction,
    waiting_for_lock,
)

SMALL_BLOCKS = 16_384  # the minimum: an integration of 1,000 users then takes 0.1 MB, not 0.8
LARGE_BLOCKS = 262_144  # DuckDB's default: in small blocks a million users take 1/3 more memory
# By default DuckDB writes the format of version 0.10. Statistics of every column then take 3 kB
# instead of 64 bytes, and have to be converted each time a file is opened or closed. From format
# 1.4 on, it tries a compression that takes a tenth of a large first sync and makes no file smaller.
STORAGE_VERSION = "v1.2.0"
_LARGE = 32 * 2**20  # size in bytes from which a file gets large blocks
# A row group that is not full is written again at every checkpoint. Row groups of a sixth of
# DuckDB's default size keep that small, so that checkpoints can be frequent and take little memory.
_ROW_GROUPS = ", ROW_GROUP_SIZE 20480"
_WORTH_REWRITING = 0.1  # share of a file that must be free, or of the rows that were deleted
_SMALL = 4 * 2**20  # size in bytes below which a file is not compressed
ALIAS = "warehouse"


@dataclass(slots=True)
class _Attached:
    """A file and the instance to which it is attached; closing `held` returns the instance."""

    ref: Place
    path: Path
    held: ExitStack
    instance: Instance = field(init=False)
    connection: duckdb.DuckDBPyConnection = field(init=False)
    added: int = 0
    """Bytes by which the memory limit is raised."""
    left: tuple[object, ...] | None = ()
    """The value of `written` when the file was detached; None while it is attached.

    Empty until it is attached for the first time.
    """
    memos: dict[str, bytes] = field(default_factory=dict)
    """The memos to keep once the file is detached."""

    def borrow(self, instances: Instances) -> None:
        """Borrow an instance to which the file is then attached."""
        self.instance = self.held.enter_context(instances.lent())
        self.connection = self.held.enter_context(self.instance.cursor())

    def make_room(self, added: int) -> None:
        """Raise the memory limit to at least `added` bytes above the usual one, until closed."""
        self.added = max(self.added, added)
        self.instance.make_room(self.added)

    def choose_compression(self) -> None:
        """Compress the data that is written from now on, unless the file is small.

        Trying every compression on every column of a small file takes longer than all the rest of
        a small sync.
        """
        shared = isinstance(self.ref, SharedFile)
        self.instance.compress(shared or size_of(self.path) >= _SMALL)

    def detach(self) -> None:
        """Detach the file; DuckDB writes all changes to it first."""
        self.choose_compression()
        self.connection.execute("USE memory")
        self.connection.execute(f"DETACH {ALIAS}")

    def leave(self) -> None:
        """Detach the file until it is attached again."""
        self.detach()
        self.left = written(self.path)


class FileWarehouse(Warehouse):
    """An integration's file, attached."""

    def __init__(
        self,
        attached: _Attached,
        ref: IntegrationRef,
        files: FileWarehouses,
    ) -> None:
        super().__init__()
        self._attached = attached
        self._tenant = tenant_columns(ref)
        self._files = files
        self.memos = attached.memos
        self.attached = attached.left is None
        if self.attached:
            self._use_attached()

    def reading(self) -> duckdb.DuckDBPyConnection:
        reading = self.connection.cursor()
        reading.execute(f"USE {ALIAS}")
        return reading

    def create(self, layout: WarehouseLayout) -> None:
        """Create the tables and views.

        No key is declared: DuckDB's indexes write uncleared memory to the file, and the instance
        may have held texts of another tenant before. The holder of the file's lock is its only
        writer, and checks for an existing row before it inserts one.
        """
        for table in layout.tables:
            tenant = "".join(f"{column} VARCHAR NOT NULL, " for column in TENANT * table.records)
            self.execute(f"CREATE TABLE {table.name} ({tenant}{table.all_columns})")
        for view in layout.views:
            self.execute(f"CREATE VIEW {view.name} AS {view.query}")

    def extend(self, layout: WarehouseLayout) -> None:
        """Add the columns that the file's tables lack."""
        for table in layout.tables:
            for column in table.added:
                self.execute(f"ALTER TABLE {table.name} ADD COLUMN IF NOT EXISTS {column}")

    def transaction(self) -> AbstractContextManager[None]:
        return transaction(self)

    def add(self, table: str, select: str, parameters: Parameters | None = None) -> int:
        (added,) = one_row(
            self,
            f"INSERT INTO {table} BY NAME SELECT {self._tenant}, * FROM ({select})",
            parameters or {},
        )
        return int(added)

    def insert(self, table: str, select: str, parameters: Parameters | None = None) -> None:
        self.execute(f"INSERT INTO {table} BY NAME {select}", parameters)

    def update(
        self, table: str, changes: str, where: str, parameters: Parameters | None = None
    ) -> None:
        """Update rows of a bookkeeping table."""
        self.execute(f"UPDATE {table} SET {changes} WHERE {where}", parameters)

    def delete(self, table: str, where: str, parameters: Parameters | None = None) -> None:
        """Delete rows of a bookkeeping table or records."""
        self.execute(f"DELETE FROM {table} WHERE {where}", parameters)

    def grow(self) -> None:
        """Rewrite the file with larger blocks once it is too large for its current ones."""
        self._files.grow(self._attached)

    def unload(self) -> None:
        """Open a large file again, because DuckDB keeps every row group that it wrote in memory."""
        self._files.unload(self._attached)

    def detach(self) -> bool:
        """Detach the file and return the instance to the pool."""
        self.attached = False
        self._attached.leave()
        self._attached.held.close()
        return True

    def attach(self) -> None:
        """Attach the file; raises `WarehouseBusy` if it was written to since it was detached."""
        self._files.attach(self._attached)
        self._use_attached()

    def _use_attached(self) -> None:
        self.connection = self._attached.connection
        self.prepared = self._attached.instance.prepared
        self.attached = True

    def make_room(self, added: int) -> None:
        """Raise the memory limit to at least `added` bytes above the usual one, until closed."""
        self._attached.make_room(added)


class FileWarehouses(Warehouses):
    """All integrations' warehouse files under one folder.

    `threads` and `memory_limit` (for example '512MB') limit one open file; `lock_wait` is
    how many seconds to wait for a file that another sync holds. `spill` is the folder for
    data that does not fit into memory. It belongs to this object, whose `close` removes it. A
    write-ahead log that reaches `log_size` is written to its file; until then, its rows are in
    memory.
    """

    def __init__(
        self,
        root: Path,
        *,
        threads: int = 1,
        memory_limit: str = "192MB",
        spill_limit: str = SPILL_LIMIT,
        lock_wait: float = 30.0,
        spill: str = ".spill",
        log_size: str = "32MB",
    ) -> None:
        self._root = root
        self._lock_wait = lock_wait
        self._leases = Leases(root / ".leases")
        self._instances = Instances(
            threads=threads,
            memory_limit=memory_limit,
            spill_limit=spill_limit,
            spill=root / spill,
            # With DuckDB's default, the file was rewritten, compressed, after every few batches of
            # a large integration, which took half of the sync's time.
            options={"wal_autocheckpoint": log_size},
        )

    def path(self, ref: Place) -> Path:
        """The path of the file, whether or not it exists."""
        if isinstance(ref, SharedFile):
            return self._root / f"{ref.name}.duckdb"
        return self._root / ref.organization_id / f"{ref.integration_id}.duckdb"

    def refs(self) -> list[IntegrationRef]:
        """Every integration that has a file here, whether or not it is still registered."""
        found = []
        for path in self._root.glob("*/*.duckdb"):
            # A file whose name no integration can have belongs to another program.
            with suppress(InvalidInput):
                found.append(IntegrationRef(path.parent.name, path.stem))
        return sorted(found)

    def shared(self) -> list[SharedFile]:
        """Every file that belongs to no integration."""
        return [SharedFile(path.stem) for path in sorted(self._root.glob("[!.]*.duckdb"))]

    def exists(self, ref: Place) -> bool:
        return self.path(ref).exists()

    @contextmanager
    def open(
        self, ref: IntegrationRef, *, read_only: bool = False, later: bool = False
    ) -> Iterator[Warehouse]:
        """See `Warehouses`; waits for the file's lock for `lock_wait` seconds."""
        with self._attached(
            ref, read_only=read_only, wait=self._lock_wait, later=later
        ) as attached:
            yield FileWarehouse(attached, ref, self)

    @contextmanager
    def open_shared(
        self, file: SharedFile, *, read_only: bool = False
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """Lend a connection whose default database is the file; raises the errors of `open`."""
        with self._attached(file, read_only=read_only, wait=self._lock_wait) as attached:
            yield attached.connection

    @contextmanager
    def _attached(
        self, ref: Place, *, read_only: bool, wait: float, later: bool = False
    ) -> Iterator[_Attached]:
        with (
            self._unless_leased(ref, wait) if read_only else self._leased(ref, wait),
            self._opened(ref, read_only, wait, later=later) as attached,
        ):
            yield attached

    @contextmanager
    def _leased(self, ref: Place, wait: float) -> Iterator[None]:
        with ExitStack() as lease:
            for attempt in waiting_for_lock(wait):
                with attempt:
                    lease.enter_context(self._leases.taken(ref, self.path(ref)))
            yield

    @contextmanager
    def _unless_leased(self, ref: Place, wait: float) -> Iterator[None]:
        for attempt in waiting_for_lock(wait):
            with attempt:
                self._leases.refuse_if_taken(ref, self.path(ref))
        yield

    @contextmanager
    def _opened(
        self, ref: Place, read_only: bool, wait: float, *, later: bool = False
    ) -> Iterator[_Attached]:
        path = self.path(ref)
        with translated(ref, path), ExitStack() as held:
            attached = _Attached(ref, path, held)
            if later:
                attached.memos.update(read_memos(path))
            else:
                attached.borrow(self._instances)
                self._attach(attached, read_only, wait)
            yield attached
            if attached.left is None:
                attached.detach()
                if attached.memos:
                    write_memos(path, attached.memos)

    def is_held(self, ref: IntegrationRef) -> bool:
        try:
            self._leases.refuse_if_taken(ref, self.path(ref))
        except WarehouseBusy:
            return True
        return False

    def last_written(self, ref: IntegrationRef) -> str:
        path = self.path(ref)
        return ":".join(map(str, written(path))) if path.exists() else ""

    @contextmanager
    def removing(self, ref: IntegrationRef) -> Iterator[None]:
        path = self.path(ref)
        with self._leased(ref, self._lock_wait), ExitStack() as held:
            # A file whose creation was interrupted would count as damaged: it is removed first.
            with whole_or_made_here(ref, path, self._root) as found:
                pass
            if found is not None:
                # Read-only, because closing must not touch the write-ahead log: by then it may
                # belong to a new file in the same place.
                with suppress(WarehouseDamaged):
                    held.enter_context(self._opened(ref, True, self._lock_wait))
            unlink(path)
            unlink(rewritten(path))
            delete_memos(path)
            yield
        with suppress(OSError):
            path.parent.rmdir()

    def compact(self, ref: Place) -> tuple[int, int]:
        """Rewrite the file of `ref` without its gaps; return its size before and after.

        The new file replaces the old one in one step: if the process is killed at any moment, one
        of the two is there in full. Raises the errors of `open`.
        """
        path = self.path(ref)
        # Attached for writing, so that no other process has the file open.
        with self._attached(ref, read_only=False, wait=self._lock_wait) as attached:
            before = _checkpointed(attached.connection, path)
            _replace(attached, _fitting_blocks(ref, before))
            return before, path.stat().st_size

    @contextmanager
    def retiring(self, ref: IntegrationRef) -> Iterator[Warehouse]:
        """Lend the file for the last time: if the block succeeds, the file is set aside.

        It is renamed so that no listing finds it, and stays until a person deletes it.
        """
        path = self.path(ref)
        with self.open(ref) as warehouse:
            yield warehouse
            # Checkpointed before the file is renamed, so that no logged rows are left behind.
            _checkpointed(warehouse.connection, path)
            os.replace(path, path.with_name(path.name + ".moved"))
            reach_the_disk(path.parent)

    def move_shared(self, file: SharedFile, root: Path) -> None:
        """Move the file into another folder; its name must not be used meanwhile."""
        path = self.path(file)
        with self.open_shared(file) as connection:
            # Checkpointed first, because the log would be left behind.
            _checkpointed(connection, path)
            make_folder(file, root)
            os.replace(path, root / path.name)
            reach_the_disk(root)
            reach_the_disk(path.parent)

    def reclaim(self, ref: IntegrationRef, gone: float, *, dry_run: bool) -> int | None:
        """See `Warehouses`; a file that is too large for its block size is rewritten, too.

        The block size is chosen when a file is created, before its size is known.
        """
        path = self.path(ref)
        with self._attached(ref, read_only=True, wait=self._lock_wait) as attached:
            share = max(_free_share(attached.connection), gone)
            outgrown = _block_size(attached.connection) < _fitting_blocks(ref, path.stat().st_size)
        # An interrupted rewrite left a file behind, which the next rewrite removes.
        if not (share >= _WORTH_REWRITING or outgrown or rewritten(path).exists()):
            return None
        if dry_run:
            return int(share * path.stat().st_size)
        before, after = self.compact(ref)
        return before - after

    def look_after(self, *, dry_run: bool) -> list[Upkeep]:
        """Do nothing: each file is maintained by itself."""
        return []

    def inspect(self) -> str:
        there = next(place for place in (self._root, *self._root.parents) if place.exists())
        if there != self._root:
            if not os.access(there, os.W_OK | os.X_OK):
                raise PermanentError(f"{self._root} cannot be made: {there} cannot be written")
            return f"{self._root} is created with the first registration"
        probe_writable(self._root)
        return f"{self._root} can be written"

    def copy(self, ref: Place, target: Path) -> bool:
        with (
            self._attached(ref, read_only=True, wait=self._lock_wait) as attached,
            translated(ref, target),
        ):
            make_folder(ref, target.parent)
            _copy(attached, target, _fitting_blocks(ref, self.path(ref).stat().st_size))
        return True

    def close(self) -> None:
        """Close the instances kept for reuse and remove spill files."""
        self._instances.close()

    def grow(self, attached: _Attached) -> None:
        """See `Warehouse`."""
        attached.choose_compression()
        if size_of(attached.path) < _LARGE or _block_size(attached.connection) >= LARGE_BLOCKS:
            return
        _checkpointed(attached.connection, attached.path)
        _replace(attached, LARGE_BLOCKS)
        self._reopen(attached)

    def unload(self, attached: _Attached) -> None:
        """See `Warehouse`."""
        if size_of(attached.path) < _LARGE:
            return
        _checkpointed(attached.connection, attached.path)
        self._reopen(attached)
        attached.instance.trim()

    def attach(self, attached: _Attached) -> None:
        """Borrow an instance and attach the file to it, for the first time or again."""
        try:
            attached.borrow(self._instances)
            attached.instance.make_room(attached.added)
            if attached.left == ():
                self._attach(attached, read_only=False, wait=self._lock_wait)
            else:
                self._attach_unchanged(attached)
        except BaseException as error:
            attached.held.__exit__(type(error), error, error.__traceback__)
            raise

    def _reopen(self, attached: _Attached) -> None:
        attached.leave()
        self._attach_unchanged(attached)

    def _attach_unchanged(self, attached: _Attached) -> None:
        """Attach the file again; raise `WarehouseBusy` if it was written to meanwhile.

        The lease excludes other syncs, but a program that ignores leases may have changed rows that
        the caller has read.
        """
        left = attached.left
        if identity(attached.path) is None:
            raise removed(attached.ref, attached.path)
        self._attach(attached, read_only=False, wait=self._lock_wait)
        if written(attached.path) != left:
            attached.left = left
            raise WarehouseBusy(
                f"{attached.ref}: warehouse file {attached.path} was written to by another sync "
                "meanwhile; let that one end, and sync again"
            )

    def _attach(self, attached: _Attached, read_only: bool, wait: float) -> None:
        connection, ref, path = attached.connection, attached.ref, attached.path
        # ATTACH takes no parameters, and the path of the installation's folder may have a quote.
        for attempt in waiting_for_lock(wait):
            with attempt, translated(ref, path):
                if not read_only:
                    # Before each try: a removal that held the lock has deleted the folder, too.
                    make_folder(ref, path.parent)
                    with refused_by_system(ref, path):
                        delete_memos(path)
                if read_only and not path.exists():
                    raise removed(ref, path)
                with whole_or_made_here(ref, path, self._root) as found:
                    # A file that exists keeps its block size; DuckDB refuses another one.
                    made = _made_with(_fitting_blocks(ref)) if found is None else ""
                    # Without TYPE, DuckDB reads the start of the file and loads an extension for
                    # the type that it finds.
                    options = "TYPE duckdb"
                    options += ", READ_ONLY" if read_only else _row_groups(ref) + made
                    connection.execute(f"ATTACH {literal(str(path))} AS {ALIAS} ({options})")
                if found is not None and identity(path) != found:
                    # The file was opened before it was replaced and locked afterwards: rows
                    # written to the old file would be lost.
                    connection.execute(f"DETACH {ALIAS}")
                    raise WarehouseBusy(f"{ref}: warehouse file {path} was replaced meanwhile")
        connection.execute(f"USE {ALIAS}")
        attached.left = None
        # The instance still has the settings of the previous file.
        attached.choose_compression()


def _row_groups(ref: Place) -> str:
    """The ATTACH option for the row group size.

    Shared files keep DuckDB's default, because they are filled by large loads, which are faster
    with it.
    """
    return "" if isinstance(ref, SharedFile) else _ROW_GROUPS


def _made_with(block_size: int) -> str:
    return f", BLOCK_SIZE {block_size}, STORAGE_VERSION '{STORAGE_VERSION}'"


def _fitting_blocks(ref: Place, size: int = 0) -> int:
    """The block size for a file of `size` bytes; a shared file may become large."""
    return LARGE_BLOCKS if isinstance(ref, SharedFile) or size >= _LARGE else SMALL_BLOCKS


def _copy(attached: _Attached, target: Path, block_size: int) -> None:
    """Copy the contents of the attached file to a new, compressed file."""
    unlink(target)
    connection = attached.connection
    attached.instance.compress(True)
    connection.execute(
        f"ATTACH {literal(str(target))} AS copied"
        f" (TYPE duckdb{_row_groups(attached.ref)}{_made_with(block_size)})"
    )
    try:
        connection.execute(f"COPY FROM DATABASE {ALIAS} TO copied")
    finally:
        connection.execute("DETACH copied")


def _block_size(connection: duckdb.DuckDBPyConnection) -> int:
    (found,) = one_row(
        connection,
        "SELECT max(block_size) FROM pragma_database_size() WHERE database_name = $name",
        {"name": ALIAS},
    )
    return int(found)


def _free_share(connection: duckdb.DuckDBPyConnection) -> float:
    (share,) = one_row(
        connection,
        """
        SELECT coalesce(max(free_blocks / nullif(total_blocks, 0)), 0)
        FROM pragma_database_size()
        WHERE database_name = $name
        """,
        {"name": ALIAS},
    )
    return float(share)


def _checkpointed(connection: duckdb.DuckDBPyConnection, path: Path) -> int:
    """Write the write-ahead log to the file; return the file's size.

    Closing the file then touches no log, which by then may be that of the file's successor.
    """
    connection.execute(f"CHECKPOINT {ALIAS}")
    return path.stat().st_size


def _replace(attached: _Attached, block_size: int) -> None:
    """Replace the attached file, in one step, by a copy with blocks of `block_size` bytes."""
    successor = rewritten(attached.path)
    _copy(attached, successor, block_size)
    os.replace(successor, attached.path)
    reach_the_disk(attached.path.parent)
