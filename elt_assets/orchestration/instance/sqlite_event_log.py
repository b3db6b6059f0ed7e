"""Dagster's SQLite event log, with connections that stay open and events stored in groups.

Dagster's storage makes an engine, a connection and two synchronous commits for every event, and
compiles its statements each time. The six events of a sync then cost more than the sync. Here
engines stay open, so statements are compiled once, a commit does not wait for the disk, and events
of partitions share commits (`event_groups`). After a power failure the last events may be missing
from the UI; the stores of the synced data do wait for the disk. The list of tables, which Dagster
queries for every event, is cached, and its migrations are read for the first run of a process only.
"""

from __future__ import annotations

import os
from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Self

from dagster import DagsterInstance, EventLogEntry
from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.pool import QueuePool

from elt_assets.orchestration.dagster_internals import (
    INDEX_SHARD_NAME,
    SQLITE_BUSY_TIMEOUT_SECONDS,
    ConfigurableClassData,
    SqlEventLogStorageTable,
    SqliteEventLogStorage,
)
from elt_assets.orchestration.instance.event_groups import (
    EventGroups,
    is_grouped,
    newest_of_assets,
)

_OPEN_RUNS = 8
"""Runs whose databases stay open; each run has its own database."""

_HOW_IT_WAS_MADE = """
    SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'
    UNION ALL
    SELECT 'INSERT INTO alembic_version VALUES (' || quote(version_num) || ')' FROM alembic_version
"""


class PooledSqliteEventLogStorage(SqliteEventLogStorage):
    """Dagster's event log in the files that Dagster would use."""

    _new_run: ClassVar[tuple[str, ...]] = ()
    """The statements that make the database of a run, once this process knows them."""

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        # Tables and columns are never removed.
        self._known_tables: set[str] = set()
        self._known_columns: set[str] = set()
        self._groups = EventGroups(self._store_together)
        # Dagster reads this before the instance exists.
        self._inst_data = inst_data

    def register_instance(self, instance: DagsterInstance) -> None:
        """Called by Dagster once the instance, and so the folder, is known."""
        folder = os.path.join(instance.root_directory, "history", "runs")
        super().__init__(folder, self._inst_data)
        super().register_instance(instance)

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """No configuration: the files are in the folder of the instance."""
        return {}

    @classmethod
    def from_config_value(
        cls,
        inst_data: ConfigurableClassData | None,
        config_value: Mapping[str, Any],  # noqa: ARG003
    ) -> Self:
        """Called by Dagster for dagster.yaml."""
        return cls(inst_data)

    def _initdb(self, engine: Engine, for_index_shard: bool = False) -> None:
        if _revision(engine) is not None:
            return
        if for_index_shard or not self._new_run or not _made_by(self._new_run, engine):
            super()._initdb(engine, for_index_shard)
        if not for_index_shard:
            type(self)._new_run = _statements(engine)

    def has_table(self, table_name: str) -> bool:
        if table_name not in self._known_tables and super().has_table(table_name):
            self._known_tables.add(table_name)
        return table_name in self._known_tables

    def _has_asset_key_col_on_connection(self, conn: Connection, column_name: str) -> bool:
        if column_name not in self._known_columns and super()._has_asset_key_col_on_connection(
            conn, column_name
        ):
            self._known_columns.add(column_name)
        return column_name in self._known_columns

    def store_event(self, event: EventLogEntry) -> None:
        """Store the event, or let it wait for others."""
        if is_grouped(event):
            self._groups.add(event)
        else:
            super().store_event(event)

    def _store_together(self, events: Sequence[EventLogEntry]) -> None:
        rows = [self._event_to_row(event) for event in events]
        of_run = defaultdict(list)
        for row in rows:
            of_run[row["run_id"]].append(row)
        for run_id, own in of_run.items():
            with self.run_connection(run_id) as connection:
                connection.execute(SqlEventLogStorageTable.insert(), own)
        with self.index_transaction() as connection:
            added = SqlEventLogStorageTable.insert().returning(
                SqlEventLogStorageTable.c.id, sort_by_parameter_order=True
            )
            ids = connection.execute(added, rows).scalars().all()
            self._store_asset_event_tags(connection, events, ids)
            for event, number in newest_of_assets(events, ids):
                self._store_asset_event(connection, event, number)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._groups.flushed(), self._db_lock:
            engine = self._engine(shard)
            if shard not in self._initialized_dbs:
                self._initdb(engine, for_index_shard=shard == INDEX_SHARD_NAME)
                self._initialized_dbs.add(shard)
            with engine.begin() as connection:
                yield connection
        # The UI follows a run by watching its file, which a commit to the write-ahead log does not
        # change.
        os.utime(self.path_for_shard(shard))

    def _engine(self, shard: str) -> Engine:
        found = self._engines.get(shard)
        if found is None:
            found = self._engines[shard] = _engine(self.conn_string_for_shard(shard))
        self._engines.move_to_end(shard)
        self._close_beyond(_OPEN_RUNS + 1)
        return found

    def _close_beyond(self, kept: int) -> None:
        while len(self._engines) > kept:
            oldest = next(name for name in self._engines if name != INDEX_SHARD_NAME)
            self._engines.pop(oldest).dispose()

    def wipe(self) -> None:
        """Delete everything, after closing all connections."""
        self._dispose_engines()
        super().wipe()

    def dispose(self) -> None:
        """Stop watching and close every connection."""
        self._groups.flush()
        super().dispose()
        self._dispose_engines()

    def _dispose_engines(self) -> None:
        with self._db_lock:
            for engine in self._engines.values():
                engine.dispose()
            self._engines.clear()


def _revision(engine: Engine) -> str | None:
    """The revision of a database that is complete: Dagster writes it last."""
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _statements(engine: Engine) -> tuple[str, ...]:
    with engine.connect() as connection:
        return tuple(connection.execute(text(_HOW_IT_WAS_MADE)).scalars())


def _made_by(statements: Sequence[str], engine: Engine) -> bool:
    """Run the statements on an empty database; False if another process has begun to fill it."""
    connection = engine.raw_connection()
    try:
        connection.cursor().execute("PRAGMA journal_mode = WAL")
        connection.cursor().execute("BEGIN IMMEDIATE")
        empty = not connection.cursor().execute("SELECT 1 FROM sqlite_master").fetchall()
        for statement in statements if empty else ():
            connection.cursor().execute(statement)
        connection.commit()
    finally:
        connection.close()
    return empty


def _engine(address: str) -> Engine:
    engine = create_engine(
        address,
        # One connection, which the thread that holds the storage's lock uses.
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=1,
        connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
    )
    event.listen(engine, "connect", _commit_without_fsync)
    return engine


def _commit_without_fsync(connection: Any, _: object) -> None:
    connection.execute("PRAGMA synchronous = NORMAL")
