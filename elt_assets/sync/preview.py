"""A look at one page before anything is trusted to an integration's configuration.

Belongs here: fetching the first page and mapping it in memory, and what that shows. Does
not: writing anything anywhere.
"""

from __future__ import annotations

from typing import Any

import duckdb
import msgspec

from elt_assets.connectors.source import Source
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.mapping import mapping_query
from elt_assets.sync.stage import INCOMING, list_path, pages_table
from elt_assets.sync.stream import Stream


class Preview(msgspec.Struct, frozen=True):
    """One page, mapped: `records` with the stream's columns, `rejected` with reasons."""

    count: int
    has_more: bool
    declared_total: int | None
    records: list[dict[str, Any]]
    rejected: list[dict[str, Any]]


def preview(stream: Stream, ref: IntegrationRef, source: Source) -> Preview:
    """Fetch and map the first page of `source`. Raises what the source raises."""
    page = next(iter(source.pages(None)))
    query = mapping_query(stream, source.fields, ref, INCOMING)
    columns = [column.name for column in stream.columns]
    with duckdb.connect(":memory:", config={"threads": 1}) as connection:
        connection.execute("SET GLOBAL TimeZone = 'UTC'")
        connection.register("incoming_pages", pages_table([page]))
        rows = connection.execute(
            f"""
            SELECT {", ".join(columns)}, attributes, source_updated_at::VARCHAR, key_text, reason
            FROM ({query.sql})
            ORDER BY seq
            """,
            query.parameters | {"list_path": list_path(source.records)},
        ).fetchall()
    return Preview(
        count=page.count,
        has_more=page.next is not None,
        declared_total=page.total,
        records=[
            dict(zip(columns, row, strict=False))
            | {
                "attributes": msgspec.json.decode(row[-4]),
                "source_updated_at": row[-3],
            }
            for row in rows
            if row[-1] is None
        ],
        rejected=[{"key": row[-2], "reason": row[-1]} for row in rows if row[-1] is not None],
    )
