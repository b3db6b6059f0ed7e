"""Dagster's storage in the PostgreSQL that the settings name, with connections that stay open.

Events of partitions are stored in groups (`event_groups`).

The address and the reference to its password stay in the settings: dagster.yaml, which Dagster
passes from process to process, has neither. Only dagster.yaml imports this module.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

from dagster import EventLogEntry
from dagster_postgres import (
    PostgresEventLogStorage,
    PostgresRunStorage,
    PostgresScheduleStorage,
)
from dagster_postgres.utils import create_pg_engine, set_pg_statement_timeout
from sqlalchemy import Connection, Engine
from sqlalchemy.event import listen

from elt_assets.config.secret_refs import Secrets
from elt_assets.config.settings import load_settings
from elt_assets.errors import InvalidInput
from elt_assets.orchestration.dagster_internals import (
    ConfigurableClass,
    ConfigurableClassData,
    DagsterStorage,
    SqlEventLogStorageTable,
)
from elt_assets.orchestration.instance.event_groups import (
    EventGroups,
    is_grouped,
    newest_of_assets,
)


class _OpenConnections:
    """Keeps a connection open, where dagster-postgres opens one for every query and event.

    The connection is tested before each use, so a restart of the server does no harm. Concurrent
    threads get connections of their own.
    """

    _engine: Engine

    def __init__(self, address: str) -> None:
        super().__init__(address)  # type: ignore[call-arg]
        self._engine.dispose()
        self._engine = create_pg_engine(
            address,
            isolation_level="AUTOCOMMIT",
            pool_size=1,
            max_overflow=20,
            pool_pre_ping=True,
        )

    def optimize_for_webserver(
        self, statement_timeout: int, pool_recycle: int, max_overflow: int
    ) -> None:
        """Called by the web server, to limit the time of its queries."""
        self._engine.dispose()
        listen(
            self._engine,
            "connect",
            lambda connection, _: set_pg_statement_timeout(connection, statement_timeout),
        )

    def dispose(self) -> None:
        """Called by Dagster when the instance is no longer needed."""
        super().dispose()  # type: ignore[misc]
        self._engine.dispose()


class _Runs(_OpenConnections, PostgresRunStorage):
    pass


class _Events(_OpenConnections, PostgresEventLogStorage):
    def __init__(self, address: str) -> None:
        self._groups = EventGroups(self._store_together)
        super().__init__(address)

    def store_event(self, event: EventLogEntry) -> None:
        """Store the event, or let it wait for others."""
        if is_grouped(event):
            self._groups.add(event)
        else:
            super().store_event(event)

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        for event in events:
            self.store_event(event)

    def _store_together(self, events: Sequence[EventLogEntry]) -> None:
        added = SqlEventLogStorageTable.insert().returning(
            SqlEventLogStorageTable.c.id, sort_by_parameter_order=True
        )
        with self.index_transaction() as connection:
            rows = [self._event_to_row(event) for event in events]
            ids = connection.execute(added, rows).scalars().all()
            self._store_asset_event_tags(connection, events, ids)
            for event, number in newest_of_assets(events, ids):
                self._store_asset_event(connection, event, number)

    @contextmanager
    def _connect(self) -> Iterator[Connection]:
        with self._groups.flushed(), super()._connect() as connection:
            yield connection

    def dispose(self) -> None:
        """Called by Dagster when the instance is no longer needed."""
        self._groups.flush()
        super().dispose()


class _Schedules(_OpenConnections, PostgresScheduleStorage):
    pass


class SettingsPostgresStorage(DagsterStorage, ConfigurableClass):
    """Dagster's PostgreSQL storage at ELT_ASSETS_DAGSTER_URL, with connections that stay open."""

    def __init__(self, inst_data: ConfigurableClassData | None, address: str) -> None:
        self._inst_data = inst_data
        self._runs = _Runs(address)
        self._events = _Events(address)
        self._schedules = _Schedules(address)
        super().__init__()  # type: ignore[no-untyped-call]

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        """The reference in dagster.yaml."""
        return self._inst_data

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config_value(
        cls,
        inst_data: ConfigurableClassData | None,
        config_value: Mapping[str, Any],  # noqa: ARG003
    ) -> Self:
        """Called by Dagster for dagster.yaml."""
        return cls(inst_data, instance_address())

    @property
    def run_storage(self) -> PostgresRunStorage:
        """Runs, their tags, and the daemons' heartbeats."""
        return self._runs

    @property
    def event_log_storage(self) -> PostgresEventLogStorage:
        return self._events

    @property
    def schedule_storage(self) -> PostgresScheduleStorage:
        """Schedules and sensors, and their ticks."""
        return self._schedules


def instance_address() -> str:
    """The URL for SQLAlchemy. Raises `InvalidInput` if the settings name no database."""
    address = load_settings().dagster_address
    if address is None:
        raise InvalidInput(
            "dagster.yaml keeps Dagster's instance in PostgreSQL, but ELT_ASSETS_DAGSTER_URL is "
            "not set: set it, or delete dagster.yaml to use files"
        )
    # SQLAlchemy does not know the scheme `postgres`, which libpq accepts, too.
    return f"postgresql://{address.complete(Secrets()).partition('://')[2]}"
