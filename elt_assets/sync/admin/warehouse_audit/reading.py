"""Read warehouses for audits: find rows of other tenants, and compare the log with latest.

A change log and the latest table are first compared by their row counts and sums of hashes. Only
if these differ are the rows compared, while the warehouse is locked against writes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial

import duckdb
import msgspec

from elt_assets.errors import SyncError, WarehouseBusy
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.operational.database import OperationalDatabase
from elt_assets.storage.warehouse.warehouse import Warehouse, one_row
from elt_assets.sync.admin.warehouse_audit import checked
from elt_assets.sync.admin.warehouse_audit.checked import Known
from elt_assets.sync.admin.warehouse_audit.due import due
from elt_assets.sync.extract.record_mapping import id_of_key
from elt_assets.sync.service import SyncService
from elt_assets.sync.state import change_log, latest_table, versions
from elt_assets.sync.state.latest_images import LatestImages
from elt_assets.sync.state.store_tables import has_tables
from elt_assets.sync.streams import Stream, StreamKey

_AT_ONCE = 100
"""The number of integrations whose rows in the latest table one query sums up."""


class WarehouseFinding(msgspec.Struct, frozen=True):
    """What is wrong with a warehouse.

    `strangers` counts rows of other tenants, `differing` the rows in which the change log and the
    latest table differ. `error` is why the warehouse cannot be read.
    """

    strangers: int = 0
    differing: int = 0
    error: str | None = None

    @property
    def right(self) -> bool:
        """Whether nothing is wrong."""
        return self == WarehouseFinding()


class WarehousesRead(msgspec.Struct, frozen=True):
    """The findings of an audit, and the number of warehouses that were not due."""

    findings: dict[IntegrationRef, WarehouseFinding]
    not_due: int


class Sum(msgspec.Struct, frozen=True):
    """A summary of rows: how many they are, and the sum of their hashes."""

    rows: int = 0
    hashes: int = 0


def read_warehouses(platform: SyncService, stream: Stream, *, everything: bool) -> WarehousesRead:
    """Read the warehouses that are due, or all of them; record which of them pass.

    A warehouse that is being synced is left to the next audit.
    """
    known = checked.known(platform.database, stream)
    written = {one.ref: platform.warehouses.last_written(one.ref) for one in known}
    wanted = known if everything else due(known, written, datetime.now(UTC))
    findings: dict[IntegrationRef, WarehouseFinding] = {}
    # DuckDB and the drivers release the interpreter: threads use every core.
    with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="audit") as threads:
        for found in threads.map(partial(_read, platform, stream), _parts(wanted)):
            findings |= found
    by_ref = {one.ref: one for one in wanted}
    with platform.database.transaction("checked warehouses") as transaction:
        checked.record(
            transaction,
            stream,
            held=[(by_ref[ref], written[ref]) for ref, one in findings.items() if one.right],
            failed=[by_ref[ref] for ref, one in findings.items() if not one.right],
        )
    return WarehousesRead(findings, len(known) - len(wanted))


def _parts(known: Sequence[Known]) -> Iterator[Sequence[Known]]:
    for start in range(0, len(known), _AT_ONCE):
        yield known[start : start + _AT_ONCE]


def _read(
    platform: SyncService, stream: Stream, part: Sequence[Known]
) -> dict[IntegrationRef, WarehouseFinding]:
    """The findings for those warehouses of `part` that can be read now."""
    wanted = [
        one
        for one in part
        if platform.warehouses.exists(one.ref)
        and not (one.syncing and platform.warehouses.is_held(one.ref))
    ]
    table = _sums_of_latest(platform.database, stream, [one.ref for one in wanted])
    findings = {}
    for one in wanted:
        try:
            findings[one.ref] = _found(platform, stream, one, table.get(one.ref, Sum()))
        except WarehouseBusy:
            continue
        except SyncError as error:
            findings[one.ref] = WarehouseFinding(error=str(error))
    return findings


def _found(
    platform: SyncService, stream: Stream, known: Known, table: Sum | None
) -> WarehouseFinding:
    with platform.warehouses.open(known.ref, read_only=True) as warehouse:
        if not has_tables(warehouse, stream):
            return WarehouseFinding()
        strangers, log = _summed_up(warehouse, stream, known)
        if log == table:
            return WarehouseFinding(strangers=strangers)
        key = StreamKey(stream, known.ref)
        return WarehouseFinding(strangers, differences(warehouse, platform.database, key))


def _summed_up(warehouse: Warehouse, stream: Stream, known: Known) -> tuple[int, Sum]:
    """The number of rows of other tenants, and the sum of the replayed log's rows.

    This is one query, because planning a query takes longer than running it for a small
    integration.
    """
    tables = (stream.landed, stream.cdc, stream.withheld)
    owners = " UNION ALL ".join(
        f"SELECT organization_id, connected_integration_id FROM {table}" for table in tables
    )
    strangers, rows, hashes = one_row(
        warehouse,
        f"""
        SELECT
            (
                SELECT count(*)
                FROM ({owners})
                WHERE organization_id <> $organization_id
                    OR connected_integration_id <> $integration_id
            ),
            count(*),
            coalesce(sum(hash(id, content_hash)), 0)
        FROM (
            SELECT
                id,
                arg_max(content_hash, version) AS content_hash,
                arg_max(change_type, version) AS change_type
            FROM {stream.cdc}
            WHERE version <= $applied
            GROUP BY id
        )
        WHERE change_type <> 'DELETE'
        """,
        {
            "organization_id": known.ref.organization_id,
            "integration_id": known.ref.integration_id,
            "applied": known.version,
        },
    )
    return strangers, Sum(rows, int(hashes))


def _sums_of_latest(
    database: OperationalDatabase, stream: Stream, refs: Sequence[IntegrationRef]
) -> Mapping[IntegrationRef, Sum | None]:
    """Sums of the integrations' rows in the latest table; None if an id does not match its key."""
    keys = ", ".join(column.name for column in stream.key)
    keyed = id_of_key(
        stream,
        "SELECT TRY_CAST(id AS UUID) AS stored, organization_id, connected_integration_id,"
        f" {keys}, content_hash FROM latest_read",
    )
    with (
        latest_table.identities(database, stream, refs) as rows,
        duckdb.connect(config={"threads": 1}) as connection,
    ):
        connection.register("latest_read", rows)
        found = connection.execute(
            f"""
            SELECT
                organization_id, connected_integration_id,
                count(*), sum(hash(stored, content_hash)), bool_and(stored IS NOT DISTINCT FROM id)
            FROM ({keyed})
            GROUP BY ALL
            """
        ).fetchall()
    return {
        IntegrationRef(organization, integration): Sum(count, int(hashes)) if named else None
        for organization, integration, count, hashes, named in found
    }


def differences(warehouse: Warehouse, database: OperationalDatabase, key: StreamKey) -> int:
    """The number of rows that differ between the replayed log and the latest table.

    Rows of the latest table whose id does not match their tenant and key count, too.
    """
    stream, ref = key.stream, key.ref
    version = versions.current(database, key).version
    LatestImages(warehouse, database, key).load()
    image = change_log.columns_of_image(stream.key, "image")
    keyed = id_of_key(
        stream,
        f"SELECT id AS stored, $organization_id AS organization_id,"
        f" $integration_id AS connected_integration_id, {image} FROM latest_rows",
    )
    (differing,) = one_row(
        warehouse,
        f"""
        SELECT
            (
                SELECT count(*)
                FROM ({change_log.replayed(stream)}) AS replayed
                FULL JOIN latest_rows AS held ON held.id = replayed.id
                WHERE replayed.content_hash IS DISTINCT FROM held.content_hash
            )
            + (SELECT count(*) FROM ({keyed}) WHERE id <> stored)
        """,
        {
            "organization_id": ref.organization_id,
            "integration_id": ref.integration_id,
            "applied": version,
            "moment": "9999-12-31",
        },
    )
    return int(differing)
