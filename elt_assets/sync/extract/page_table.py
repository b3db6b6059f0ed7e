"""Pages as a table that DuckDB reads, and the SQL that extracts their records."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import pyarrow as pa

from elt_assets.connectors.source import Page
from elt_assets.errors import BooksUnbalanced
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.warehouse.warehouse import literal

PAGES = "incoming_pages"
"""The name under which queries read the result of `pages_table`."""


def incoming(records: Sequence[str]) -> str:
    """SQL for the records of all pages; `records` are the object keys that lead to their list."""
    return f"""
    SELECT
        first_seq + position AS seq, raw, parent, organization_id, connected_integration_id
    FROM (
        SELECT
            first_seq,
            organization_id,
            connected_integration_id,
            generate_subscripts(records, 1) - 1 AS position,
            unnest(records) AS raw,
            unnest(parents) AS parent
        FROM (
            -- json_extract with a wildcard yields the list; json_each is quadratic in the page.
            SELECT
                first_seq, parents, organization_id, connected_integration_id,
                json_extract(body, {literal(f"{object_path(records)}[*]")}) AS records
            FROM {PAGES}
        )
    )
    """


def object_path(keys: Sequence[str]) -> str:
    """The JSONPath of the value under these object keys."""
    quoted = (key.replace("\\", "\\\\").replace('"', '\\"') for key in keys)
    return "$" + "".join(f'."{key}"' for key in quoted)


def pages_table(ref: IntegrationRef, pages: Sequence[Page]) -> pa.Table:
    """Pages as (first_seq, body, parents) and the two names of the integration.

    `first_seq` numbers the records through all pages. `parents` holds the parent of every record
    of the page, or is NULL.
    """
    bodies = pa.array([page.body for page in pages], pa.large_binary())
    parents = pa.array([_parents(page) for page in pages], pa.list_(pa.string()))
    return pa.table(
        {
            "first_seq": first_positions(pages),
            "body": bodies.cast(pa.large_string()),
            "parents": parents,
            "organization_id": [ref.organization_id] * len(pages),
            "connected_integration_id": [ref.integration_id] * len(pages),
        }
    )


def first_positions(pages: Sequence[Page]) -> tuple[int, ...]:
    """The number of each page's first record, counted from 0 through all pages."""
    return tuple(accumulate((page.count for page in pages[:-1]), initial=0))


def _parents(page: Page) -> list[str] | None:
    if not page.parents:
        return None
    found = [parent for parent, count in page.parents for _ in range(count)]
    if len(found) != page.count:
        # Padding would leave records without a parent, or invent records.
        raise BooksUnbalanced(
            f"a page holds {page.count} records and names the parents of {len(found)} of them; "
            "nothing of it was kept. This is a defect of the connector"
        )
    return found
