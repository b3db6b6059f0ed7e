"""The specs of a stream's three tables: names, lineage, descriptions and columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import dagster as dg

from elt_assets.orchestration.placement import STANDALONE, Placement
from elt_assets.sync.outcome import Stage
from elt_assets.sync.streams import Column, ColumnType, Stream

_TYPES = {ColumnType.TEXT: "VARCHAR", ColumnType.BOOLEAN: "BOOLEAN"}
_SQLITE_TYPES = {ColumnType.TEXT: "TEXT", ColumnType.BOOLEAN: "INTEGER"}

_ATTRIBUTES = "Fields that the integration maps in addition to the stream's columns."
_CONTENT_HASH = "MD5 over content and attributes; equal hashes, equal records."


def asset_key(stream: Stream, stage: Stage) -> dg.AssetKey:
    """The asset of the table that `stage` fills, in the stand-alone installation."""
    return STANDALONE.table(stream, stage)


def table_specs(stream: Stream, at: Placement = STANDALONE) -> list[dg.AssetSpec]:
    """`<stream>_staging` → `<stream>_cdc` → `<stream>_latest`.

    Every spec is skippable, because an output would mark every partition of the run's range as
    materialized. The run reports each integration in an event of its own.
    """
    return [
        dg.AssetSpec(
            key=at.table(stream, stage),
            deps=[at.table(stream, before)] if before else [],
            skippable=True,
            group_name=at.group_or(stream.name),
            owners=list(at.owners),
            kinds=kinds,
            description=f"{stream.description} {text}",
            metadata={
                "dagster/table_name": asset_key(stream, stage).to_user_string(),
                "dagster/column_schema": dg.TableSchema(columns=columns),
            },
        )
        for stage, before, kinds, text, columns in (
            (
                Stage.STAGING,
                None,
                {"duckdb", "http"},
                "Every record of every sync as the provider sent it, with the mapped columns. In "
                "the integration's warehouse file.",
                _staging_columns(stream),
            ),
            (
                Stage.CDC,
                Stage.STAGING,
                {"duckdb"},
                "The change log: inserts, updates and deletes of each sync, at most one change for "
                "a key in a sync. In the integration's warehouse file.",
                _cdc_columns(stream),
            ),
            (
                Stage.LATEST,
                Stage.CDC,
                {"sqlite"},
                "The current records, which applications read; each sync changes them in one "
                "transaction. In the operational database.",
                _latest_columns(stream),
            ),
        )
    ]


def column_lineage(
    stream: Stream, stage: Stage, at: Placement = STANDALONE
) -> dg.TableColumnLineage | None:
    """The source columns in the previous table; None for the first table."""
    before = {Stage.CDC: Stage.STAGING, Stage.LATEST: Stage.CDC}.get(stage)
    if before is None:
        return None
    same = ["organization_id", "connected_integration_id", "id", "attributes", "content_hash"]
    comes_from = {name: name for name in [*same, *(column.name for column in stream.columns)]}
    comes_from |= (
        {"sync_id": "sync_id"}
        if stage is Stage.CDC
        else dict.fromkeys(("first_seen", "last_updated", "deleted_at"), "detected_at")
    )
    return dg.TableColumnLineage(
        {
            column: [dg.TableColumnDep(asset_key=at.table(stream, before), column_name=source)]
            for column, source in comes_from.items()
        }
    )


def _staging_columns(stream: Stream) -> list[dg.TableColumn]:
    return [
        dg.TableColumn("sync_id", "VARCHAR", "The sync that fetched the record."),
        *_tenant("VARCHAR"),
        dg.TableColumn("batch", "INTEGER", "The checkpoint that the record belongs to."),
        dg.TableColumn("seq", "INTEGER", "Place of the record in its batch."),
        dg.TableColumn("parent", "VARCHAR", "The parent that listed it, such as a member's group."),
        _id("UUID"),
        *_declared(stream.key, _TYPES),
        *_declared(stream.content, _TYPES),
        dg.TableColumn("attributes", "JSON", _ATTRIBUTES),
        dg.TableColumn(
            "source_updated_at", "TIMESTAMP", "When the provider last changed the record."
        ),
        dg.TableColumn("tombstone", "BOOLEAN", "Whether the record is marked as deleted."),
        dg.TableColumn("content_hash", "VARCHAR", _CONTENT_HASH),
        dg.TableColumn("raw", "JSON", "The provider's record, untouched."),
        dg.TableColumn("created_at", "TIMESTAMP", "When the record was staged."),
    ]


def _cdc_columns(stream: Stream) -> list[dg.TableColumn]:
    return [
        *_tenant("VARCHAR"),
        dg.TableColumn("version", "BIGINT", "Version of the latest table after this sync."),
        dg.TableColumn("sync_id", "VARCHAR", "The sync that found the change."),
        dg.TableColumn("sequence", "BIGINT", "Order of the changes of one sync."),
        _id("UUID"),
        *_declared(stream.key, _TYPES),
        dg.TableColumn("change_type", "VARCHAR", "INSERT, UPDATE or DELETE."),
        *_declared(stream.content, _TYPES),
        dg.TableColumn("attributes", "JSON", _ATTRIBUTES),
        dg.TableColumn("content_hash", "VARCHAR", _CONTENT_HASH),
        dg.TableColumn("before", "JSON", "The previous row, if there was one."),
        dg.TableColumn("detected_at", "TIMESTAMP", "When the change was found."),
        dg.TableColumn("first_seen", "TIMESTAMP", "In a baseline: when the row was first seen."),
    ]


def _latest_columns(stream: Stream) -> list[dg.TableColumn]:
    return [
        *_tenant("TEXT"),
        _id("TEXT"),
        *_declared(stream.key, _SQLITE_TYPES),
        *_declared(stream.content, _SQLITE_TYPES),
        dg.TableColumn("attributes", "TEXT", _ATTRIBUTES),
        dg.TableColumn("content_hash", "TEXT", _CONTENT_HASH),
        dg.TableColumn("first_seen", "TEXT", "When the record was first seen."),
        dg.TableColumn("last_updated", "TEXT", "When its content last changed."),
        dg.TableColumn("deleted_at", "TEXT", "When it was deleted, in soft-delete mode."),
    ]


def _declared(columns: Iterable[Column], types: Mapping[ColumnType, str]) -> list[dg.TableColumn]:
    return [dg.TableColumn(c.name, types[c.kind], c.description) for c in columns]


def _tenant(kind: str) -> list[dg.TableColumn]:
    return [
        dg.TableColumn("organization_id", kind, "The organization of the record."),
        dg.TableColumn(
            "connected_integration_id", kind, "The integration that provided the record."
        ),
    ]


def _id(kind: str) -> dg.TableColumn:
    return dg.TableColumn("id", kind, "UUIDv5 of organization, integration and key; stable.")
