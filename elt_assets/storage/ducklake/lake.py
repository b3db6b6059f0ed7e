"""The warehouse as a DuckLake: records as Parquet files in a folder or S3, the rest in PostgreSQL.

All integrations share the tables, and every row names its integration. Two variables of a
connection select the integration whose rows its views show; without them the views are empty.

A DuckDB transaction writes to one database only. So records are committed first, under a
`write_id`. They become valid when a bookkeeping table names that id, in the transaction that also
moves the cursor or marks the version. A process that dies in between leaves records that no reader
sees and that upkeep removes. The bookkeeping tables are ordinary PostgreSQL tables because
DuckLake handles small changes badly: a query of any table reads what its catalog holds of all
integrations (measured; docs/scale.md).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import msgspec

from elt_assets.config.addresses import DatabaseAddress
from elt_assets.config.secret_refs import SecretRef, Secrets
from elt_assets.errors import (
    PermanentError,
    SyncError,
    WarehouseBusy,
    WriteInterrupted,
)
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.ducklake.lake_catalog import LEASE_LOST, LakeCatalog
from elt_assets.storage.ducklake.lake_upkeep import (
    BOOKS,
    LAKE,
    erase,
    remove_unnamed,
    tidy_files,
)
from elt_assets.storage.ducklake.lake_warehouse import LakeWarehouse, seen_rows
from elt_assets.storage.warehouse.duckdb_extensions import CHECKED_ONCE, load_extension
from elt_assets.storage.warehouse.duckdb_instances import SPILL_LIMIT, Instances
from elt_assets.storage.warehouse.file_errors import limit_reached
from elt_assets.storage.warehouse.warehouse import (
    TENANT,
    Table,
    Upkeep,
    Warehouse,
    WarehouseLayout,
    Warehouses,
    literal,
    probe_writable,
    transaction,
)

_CONFLICT_ATTEMPTS = 100
_CONFLICT_WAIT_MS = 20
_CONFLICT_BACKOFF = 1.1


class S3(msgspec.Struct, frozen=True):
    """Access to S3-compatible object storage; without an endpoint, Amazon's."""

    endpoint: str | None
    region: str
    key_id: SecretRef
    secret: SecretRef


class LakeWarehouses(Warehouses):
    """All integrations' warehouses in one lake.

    `data` is the folder, or the `s3://bucket/prefix`, of its files. `spill` is the folder for data
    that does not fit into memory. `layout` has the tables and views of the lake.
    """

    def __init__(
        self,
        address: DatabaseAddress,
        *,
        data: str,
        schema: str,
        layout: WarehouseLayout,
        spill: Path,
        s3: S3 | None = None,
        threads: int = 1,
        memory_limit: str = "192MB",
        spill_limit: str = SPILL_LIMIT,
        lock_wait: float = 30.0,
    ) -> None:
        self._address = address
        self._data = data.rstrip("/") + "/"
        self._layout = layout
        self._s3 = s3
        self._secrets = Secrets()
        self._catalog = LakeCatalog(address, schema=schema, lock_wait=lock_wait)
        self._instances = Instances(
            threads=threads,
            memory_limit=memory_limit,
            spill_limit=spill_limit,
            spill=spill,
            options=CHECKED_ONCE,
            set_up=self._set_up,
        )
        self._made = False
        self._making = threading.Lock()

    @contextmanager
    def open(
        self, ref: IntegrationRef, *, read_only: bool = False, later: bool = False
    ) -> Iterator[Warehouse]:
        """See `Warehouses`; `later` changes nothing."""
        self._catalog.prepare(self._layout)
        with (
            self._catalog.leased(ref, read_only=read_only) as lease,
            self._translated(str(ref)),
            self._instances.lent() as instance,
            instance.cursor() as connection,
        ):
            yield LakeWarehouse(connection, instance, lease, self._catalog, self._layout)

    def exists(self, ref: IntegrationRef) -> bool:
        self._catalog.prepare(self._layout)
        return self._catalog.knows(ref)

    def refs(self) -> list[IntegrationRef]:
        self._catalog.prepare(self._layout)
        return self._catalog.refs()

    def is_held(self, ref: IntegrationRef) -> bool:
        """See `Warehouses`; true also while a worker on another machine holds it."""
        self._catalog.prepare(self._layout)
        return self._catalog.is_leased(ref)

    def last_written(self, ref: IntegrationRef) -> str:
        """Empty: an integration has no files of its own."""
        return ""

    @contextmanager
    def removing(self, ref: IntegrationRef) -> Iterator[None]:
        self._catalog.prepare(self._layout)
        with self._catalog.leased(ref, read_only=False):
            self._catalog.forget(ref, self._layout)
            with (
                self._connected(str(ref)) as connection,
                self._catalog.looking_after(),
                self._catalog.alone(),
            ):
                erase(connection, self._layout, self._catalog.schema, ref)
            yield

    def reclaim(self, ref: IntegrationRef, gone: float, *, dry_run: bool) -> int | None:
        """None: integrations share the files, which `look_after` maintains."""
        return None

    def look_after(self, *, dry_run: bool) -> list[Upkeep]:
        with self._connected("the lake") as connection, self._catalog.looking_after():
            with self._catalog.alone():
                done = [remove_unnamed(connection, self._layout, self._catalog.schema, dry_run)]
            return done if dry_run else [*done, *tidy_files(connection)]

    def inspect(self) -> str:
        catalog = self._catalog.inspect()
        with self._translated("the lake"), duckdb.connect(":memory:") as connection:
            self._load(connection)
            if self._s3 is not None:
                connection.execute(f"SELECT count(*) FROM glob({literal(self._data + '*')})")
            else:
                self._make_folder()
                probe_writable(Path(self._data))
        return f"DuckLake in {self._data}, catalog on {catalog}"

    def copy(self, ref: IntegrationRef, target: Path) -> bool:
        """False: the warehouse is not a file."""
        return False

    def close(self) -> None:
        self._instances.close()
        self._catalog.close()

    @contextmanager
    def _connected(self, whose: str) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection to the tables that all integrations share."""
        self._catalog.prepare(self._layout)
        with (
            self._translated(whose),
            self._instances.lent() as instance,
            instance.cursor() as connection,
        ):
            yield connection

    def _make_folder(self) -> None:
        try:
            Path(self._data).mkdir(parents=True, exist_ok=True, mode=0o770)
        except OSError as error:
            raise PermanentError(
                f"the folder {self._data} cannot be made ({error.strerror}); "
                "correct ELT_ASSETS_WAREHOUSE_DATA"
            ) from error

    def _make(self, root: duckdb.DuckDBPyConnection) -> None:
        if self._s3 is None:
            self._make_folder()
        # Take the exclusive lock only to create something: a sync that begins would otherwise wait
        # until all running additions are committed.
        if not self._catalog.has_lake():
            # Attaching creates the lake; two processes at once would each create one.
            with self._catalog.alone():
                self._attach(root)
                self._make_tables(root)
            return
        self._attach(root)
        with self._translated("the lake"):
            if self._missing(root):
                with self._catalog.alone():
                    self._make_tables(root)

    def _missing(self, root: duckdb.DuckDBPyConnection) -> list[Table]:
        made = {
            name
            for (name,) in root.execute(
                f"SELECT table_name FROM duckdb_tables() WHERE database_name = '{LAKE}'"
            ).fetchall()
        }
        return [t for t in self._layout.tables if t.records and t.name not in made]

    def _make_tables(self, root: duckdb.DuckDBPyConnection) -> None:
        missing = self._missing(root)
        if not missing:
            return
        root.execute(f"CALL {LAKE}.set_option('parquet_compression', 'zstd')")
        tenant = "".join(f"{column} VARCHAR NOT NULL, " for column in TENANT)
        with transaction(root):
            for table in missing:
                root.execute(
                    f"CREATE TABLE {LAKE}.{table.name}"
                    f" ({tenant}write_id VARCHAR NOT NULL, {table.columns})"
                )
                root.execute(
                    f"ALTER TABLE {LAKE}.{table.name} SET PARTITIONED BY ({', '.join(TENANT)})"
                )

    def _set_up(self, root: duckdb.DuckDBPyConnection) -> None:
        with self._making:
            # The first instance creates what is missing before any other checks.
            if not self._made:
                self._make(root)
                self._made = True
            else:
                self._attach(root)
        # Creating a view binds these variables, so they must exist; empty, they select no rows.
        root.execute("SET VARIABLE organization_id = ''; SET VARIABLE integration_id = ''")
        for table in self._layout.tables:
            root.execute(f"CREATE VIEW {table.name} AS {seen_rows(table, self._catalog.schema)}")
        for view in self._layout.views:
            root.execute(f"CREATE VIEW {view.name} AS {view.query}")

    def _load(self, root: duckdb.DuckDBPyConnection) -> None:
        for name in ("ducklake", "postgres_scanner", *(("httpfs",) if self._s3 else ())):
            load_extension(root, name)
        if self._s3 is not None:
            root.execute(self._storage_secret(self._s3))

    def _attach(self, root: duckdb.DuckDBPyConnection) -> None:
        self._load(root)
        for setting, value in (
            ("max_retry_count", _CONFLICT_ATTEMPTS),
            ("retry_wait_ms", _CONFLICT_WAIT_MS),
            ("retry_backoff", _CONFLICT_BACKOFF),
        ):
            root.execute(f"SET GLOBAL ducklake_{setting} = {value}")
        address = self._address.complete(self._secrets)
        schema = self._catalog.schema
        with self._translated("the lake"):
            root.execute(
                f"ATTACH {literal('ducklake:postgres:' + address)} AS {LAKE}"
                f" (DATA_PATH {literal(self._data)}, METADATA_SCHEMA {literal(schema)})"
            )
            root.execute(
                f"ATTACH {literal(address)} AS {BOOKS} (TYPE postgres, SCHEMA {literal(schema)})"
            )

    def _storage_secret(self, s3: S3) -> str:
        parts = {
            "KEY_ID": self._secrets.resolve(s3.key_id),
            "SECRET": self._secrets.resolve(s3.secret),
            "REGION": s3.region,
        }
        options = [f"{name} {literal(value)}" for name, value in parts.items()]
        if s3.endpoint is not None:
            scheme, _, place = s3.endpoint.rpartition("://")
            options += [f"ENDPOINT {literal(place)}", "URL_STYLE 'path'"]
            options += [f"USE_SSL {str(scheme != 'http').lower()}"]
        return f"CREATE SECRET storage (TYPE s3, {', '.join(options)}, SCOPE {literal(self._data)})"

    @contextmanager
    def _translated(self, whose: str) -> Iterator[None]:
        try:
            yield
        except duckdb.Error as error:
            translated = _translate(self._secrets.redact(str(error)), error, whose)
            if translated is None:
                raise
            # Not chained: DuckDB's message may contain the address with its password.
            raise translated from None


def _translate(text: str, error: duckdb.Error, whose: str) -> SyncError | None:
    first = text.splitlines()[0] if text else type(error).__name__
    if LEASE_LOST in text:
        return WarehouseBusy(
            f"{whose}: another worker took it over after this one lost its lease; what this one "
            "had not committed is dropped"
        )
    if "does not match existing data path" in text.lower() or "DATA_PATH" in text:
        return PermanentError(
            f"{whose}: its files are in another place than ELT_ASSETS_WAREHOUSE_DATA says: {first}"
        )
    if limit := limit_reached(error, text, whose, "its files"):
        return limit
    if isinstance(error, duckdb.TransactionException):
        return WriteInterrupted(f"{whose}: the lake refused a commit ({first}); it is tried again")
    if isinstance(error, duckdb.IOException | duckdb.HTTPException) or _OUT_OF_REACH.search(text):
        return WriteInterrupted(f"{whose}: the lake cannot be reached: {first}")
    return None


_OUT_OF_REACH = re.compile(
    r"connection|server closed|terminating|starting up|shutting down|Failed to (?:execute|prepare)"
    r"|timeout|serialize access",
    re.IGNORECASE,
)
