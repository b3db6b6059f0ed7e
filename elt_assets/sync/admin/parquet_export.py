"""Export the tables of every integration as Parquet files.

    FOLDER/users_latest/organization_id=ORG/connected_integration_id=ID/data.parquet
    FOLDER/users_changes/…    FOLDER/users_history/…

Each file is replaced in one step: a reader sees the old one or the new one.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from enum import StrEnum
from functools import partial
from pathlib import Path

import duckdb
import msgspec

from elt_assets.errors import InvalidInput, NotFound, SyncError
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.warehouse.warehouse import Queries, literal
from elt_assets.sync.service import SyncService
from elt_assets.sync.state import change_log, latest_table, versions
from elt_assets.sync.state.store_tables import has_tables
from elt_assets.sync.streams import STREAMS, Stream, StreamKey

FILE = "data.parquet"
_DEPTH = 3  # folders between the export folder and a file


class ExportTable(StrEnum):
    """The tables of a stream that can be exported."""

    LATEST = "latest"
    CHANGES = "changes"
    HISTORY = "history"


class ParquetExport(msgspec.Struct, frozen=True):
    """What was written.

    `removed` counts deleted folders of integrations that are no longer registered. `left` names
    integrations whose files were not replaced, with the reason.
    """

    folder: str
    integrations: int
    rows: dict[str, int]
    removed: int = 0
    left: tuple[str, ...] = ()


def export(
    platform: SyncService,
    folder: Path,
    *,
    refs: Sequence[IntegrationRef] | None = None,
    streams: Collection[Stream] = tuple(STREAMS.values()),
    tables: Collection[ExportTable] = tuple(ExportTable),
) -> ParquetExport:
    """Write `tables` of `streams` of the integrations `refs`, or of all integrations if None.

    An export of all also deletes earlier exports of integrations that are no longer registered.
    Raises `InvalidInput` when the folder cannot be created.
    """
    folder = folder.absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o770)
    except OSError as error:
        raise InvalidInput(f"{folder} cannot be created ({error.strerror})") from None
    wanted = [found.ref for found in platform.registry.all()] if refs is None else list(refs)
    rows = {_name(stream, table): 0 for stream in streams for table in tables}
    left = []
    work = partial(_export_one, platform, folder, streams, tables)
    with ThreadPoolExecutor(platform.settings.concurrency, "export") as pool:
        for ref, done in zip(wanted, pool.map(_settled(work), wanted), strict=True):
            if isinstance(done, str):
                left.append(ref.before(done))
                continue
            for name, count in done.items():
                rows[name] += count
    removed = _remove_others(folder, rows, set(wanted)) if refs is None else 0
    return ParquetExport(str(folder), len(wanted) - len(left), rows, removed, tuple(left))


def _settled(
    work: Callable[[IntegrationRef], dict[str, int]],
) -> Callable[[IntegrationRef], dict[str, int] | str]:
    """Wrap `work` so that it returns the text of an error instead of raising it."""

    def settled(ref: IntegrationRef) -> dict[str, int] | str:
        try:
            return work(ref)
        except (SyncError, NotFound) as error:
            return str(error)

    return settled


def _export_one(
    platform: SyncService,
    folder: Path,
    streams: Collection[Stream],
    tables: Collection[ExportTable],
    ref: IntegrationRef,
) -> dict[str, int]:
    rows: dict[str, int] = {}
    for stream in streams:
        if ExportTable.LATEST in tables:
            rows[_name(stream, ExportTable.LATEST)] = _export_latest(platform, folder, stream, ref)
    logged = [table for table in tables if table is not ExportTable.LATEST]
    if logged and platform.warehouses.exists(ref):
        with platform.warehouses.open(ref, read_only=True) as warehouse:
            # The integration may have been removed while this waited for the file.
            platform.registry.get(ref)
            for stream in streams:
                if not has_tables(warehouse, stream):
                    continue
                applied = versions.current(platform.database, StreamKey(stream, ref)).version
                for table in logged:
                    query = _QUERIES[table](stream)
                    target = _target(folder, stream, table, ref)
                    name = _name(stream, table)
                    rows[name] = _write(warehouse, query, {"applied": applied}, target)
    return rows


def _export_latest(platform: SyncService, folder: Path, stream: Stream, ref: IntegrationRef) -> int:
    with (
        duckdb.connect(":memory:", config={"threads": 1}) as connection,
        latest_table.with_times(platform.database, StreamKey(stream, ref)) as standing,
    ):
        connection.register("standing_rows", standing)
        # The casts matter when there are no rows: SQLite's driver then types all columns as
        # integers.
        query = f"""
            SELECT
                id::VARCHAR AS id,
                {change_log.columns_of_image(stream.columns, "image::VARCHAR::JSON")},
                content_hash::VARCHAR AS content_hash,
                first_seen::VARCHAR::TIMESTAMP AS first_seen,
                last_updated::VARCHAR::TIMESTAMP AS last_updated
            FROM standing_rows
        """
        return _write(connection, query, {}, _target(folder, stream, ExportTable.LATEST, ref))


def _changes(stream: Stream) -> str:
    columns = ", ".join(column.name for column in stream.columns)
    return f"""
        SELECT
            version, sync_id, sequence, change_type, id::VARCHAR AS id, {columns},
            attributes, content_hash, "before", detected_at
        FROM {stream.cdc}
        WHERE version <= $applied
        ORDER BY version, sequence
    """


def _history(stream: Stream) -> str:
    return f"""
        SELECT id::VARCHAR AS id, * EXCLUDE (id, organization_id, connected_integration_id)
        FROM {stream.history}
        WHERE version <= $applied
        ORDER BY id, version
    """


_QUERIES: Mapping[ExportTable, Callable[[Stream], str]] = {
    ExportTable.CHANGES: _changes,
    ExportTable.HISTORY: _history,
}


def _write(source: Queries, query: str, parameters: Mapping[str, object], to: Path) -> int:
    """Write the query's rows to a new file that replaces `to`; return the number of rows."""
    to.parent.mkdir(parents=True, exist_ok=True, mode=0o770)
    unfinished = to.with_name(f".{to.name}.unfinished")
    done = source.execute(
        f"COPY ({query}) TO {literal(str(unfinished))} (FORMAT parquet, COMPRESSION zstd)",
        dict(parameters),
    ).fetchone()
    _open_as_the_folder_is(to, unfinished)
    os.replace(unfinished, to)
    return 0 if done is None else int(done[0])


def _open_as_the_folder_is(to: Path, unfinished: Path) -> None:
    """Give the file and its folders the permissions of the export folder, set by its owner."""
    partitions = to.parents[:_DEPTH]
    mode = stat.S_IMODE(to.parents[_DEPTH].stat().st_mode)
    for folder in partitions:
        # A folder that another account created keeps that account's permissions.
        with suppress(PermissionError):
            folder.chmod(mode)
    unfinished.chmod(mode & 0o666)


def _name(stream: Stream, table: ExportTable) -> str:
    return f"{stream.name}_{table}"


def _target(folder: Path, stream: Stream, table: ExportTable, ref: IntegrationRef) -> Path:
    return folder / _name(stream, table) / _partition(ref) / FILE


def _partition(ref: IntegrationRef) -> Path:
    return Path(
        f"organization_id={ref.organization_id}",
        f"connected_integration_id={ref.integration_id}",
    )


def _remove_others(
    folder: Path, names: Collection[str], registered: Collection[IntegrationRef]
) -> int:
    """Delete the exports of integrations that are no longer registered; return how many."""
    kept = {_partition(ref) for ref in registered}
    removed = 0
    for name in names:
        for file in (folder / name).glob(f"organization_id=*/connected_integration_id=*/{FILE}"):
            if file.parent.relative_to(folder / name) not in kept:
                shutil.rmtree(file.parent)
                removed += 1
    return removed
