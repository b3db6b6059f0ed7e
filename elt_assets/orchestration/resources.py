"""Dagster resources: the stores and the engine, opened and closed once per run.

Assets, sensors and schedules get a `SyncService`, which does not know Dagster. A field that is
not set comes from the settings (`ELT_ASSETS_*`) at the time of the run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeAlias

import dagster as dg
import duckdb
from dagster_duckdb import DuckDBResource
from pydantic import Field

from elt_assets.config.settings import Settings, load_settings
from elt_assets.storage.from_settings import file_warehouses, operational_database, warehouses
from elt_assets.storage.operational.database import OperationalDatabase
from elt_assets.storage.operational.sqlite_database import SqliteDatabase
from elt_assets.storage.warehouse.warehouse import Warehouses
from elt_assets.sync.outcome import Outcome, ProgressListener, silent
from elt_assets.sync.service import SyncService
from elt_assets.sync.state.store_tables import warehouse_layout
from elt_assets.telemetry import logs


class WarehouseResource(DuckDBResource):
    """The warehouses: a DuckDB file for each integration, and connections that read across files.

    `warehouses()` opens files, one integration at a time and under its lock. `get_connection` is
    the connection of dagster-duckdb, by default in memory, for
    `read_duckdb('<folder>/*/*.duckdb', …)` and for Parquet.
    """

    database: str = Field(default=":memory:", description="Database of `get_connection`.")
    folder: str | None = Field(default=None, description="Folder of the integrations' files.")
    threads: int | None = Field(
        default=None, ge=1, description="DuckDB threads for one integration."
    )
    memory_limit: str | None = Field(
        default=None, description="DuckDB memory limit, for example 512MB."
    )
    lock_wait: float | None = Field(
        default=None, ge=0, description="Seconds to wait for a locked file."
    )

    @contextmanager
    def get_connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection that is always closed; the parent class leaks it if the block raises."""
        settings = load_settings()
        limits: dict[str, Any] = {
            "threads": self.threads or settings.warehouse_threads,
            "memory_limit": self.memory_limit or settings.warehouse_memory,
        }
        with duckdb.connect(self.database, config={**limits, **self.connection_config}) as opened:
            yield opened

    def warehouses(self, settings: Settings) -> Warehouses:
        """The warehouses of all integrations; fields of this resource override `settings`."""
        own = {
            "warehouse_threads": self.threads,
            "warehouse_memory": self.memory_limit,
            "lock_wait": self.lock_wait,
        }
        chosen = settings.model_copy(
            update={name: value for name, value in own.items() if value is not None}
        )
        if self.folder:
            return file_warehouses(chosen, Path(self.folder))
        return warehouses(chosen, warehouse_layout())


class OperationalResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The operational database: registry, latest tables and ledger, through ADBC only."""

    path: str | None = Field(
        default=None, description="A SQLite file, in place of the database of the settings."
    )

    def database(self, settings: Settings) -> OperationalDatabase:
        """The operational database; fields of this resource override `settings`."""
        return SqliteDatabase(Path(self.path)) if self.path else operational_database(settings)


class LogLevel(StrEnum):
    """The least important log records of a run."""

    debug = "debug"
    info = "info"
    warning = "warning"
    error = "error"


PlatformResource: TypeAlias = dg.ConfigurableResource[SyncService]


def platform_resource(
    settings: Settings | None = None,
    *,
    warehouse: WarehouseResource | None = None,
    operational: OperationalResource | None = None,
) -> PlatformResource:
    """The engine over both stores, which assets, schedules and sensors use.

    Without `settings`, each run reads those of its environment. Settings are not fields of the
    resource: a launchpad may replace any field, and so could give a run the files of another
    installation.
    """

    class Platform(dg.ConfigurableResource[SyncService]):
        """The engine over both stores of an installation."""

        log_level: LogLevel | None = Field(
            default=None,
            description="Least important log records of this run; from settings when unset.",
        )

        @contextmanager
        def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[SyncService]:
            """Open the platform for one run or one tick, and always close it."""
            chosen = settings or load_settings()
            logs.configure(chosen.log_format or "console", self.log_level or chosen.log_level)
            with SyncService(
                chosen,
                (operational or OperationalResource()).database(chosen),
                (warehouse or WarehouseResource()).warehouses(chosen),
            ) as opened:
                yield opened

    return Platform()


OutcomeListener = Callable[[Outcome], None]


def ignore(_: Outcome) -> None:
    """No-op callback."""


def never() -> bool:
    """The callback of a run that the caller does not stop."""
    return False


@dataclass(frozen=True, slots=True)
class RunListener:
    """Callbacks for a run in the caller's own process; no-ops for all other runs.

    `settled` gets each outcome that no retry of this run will change. Once `stopped` returns True,
    failures are not retried.
    """

    progress: ProgressListener = silent
    settled: OutcomeListener = ignore
    stopped: Callable[[], bool] = never


NO_LISTENER = RunListener()
"""The listener of a run that no caller waits for."""
