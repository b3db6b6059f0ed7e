"""Preview one page of an integration: fetch it, map it in memory, and warn of likely mistakes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import chain, islice
from typing import Any

import duckdb
import msgspec

from elt_assets.connectors.mapping.expressions import speaks_of_parent
from elt_assets.connectors.rest.counting_links import counts_in_disguise
from elt_assets.connectors.source import Page, Presence, Source
from elt_assets.errors import SyncError
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.warehouse.canonical_json import add_canonical_json
from elt_assets.sync.extract.page_table import PAGES, incoming, pages_table
from elt_assets.sync.extract.record_mapping import mapping_query
from elt_assets.sync.streams import Stream

_NO_PROBE = (
    "missing records cannot be asked for one by one, so each is deleted only when a second "
    "complete listing lacks it too; configure `single` if the provider can return one record"
)
_ENOUGH = 10
"""The least number of records for which one value in all of them is suspicious."""
USUAL_SIZES = frozenset({10, 20, 25, 30, 50, 100, 200, 250, 500, 1000, 2000, 5000, 10_000})
"""Usual numbers of records on a full page."""
_LISTS = 20
"""The number of lists to search for records: many groups are empty."""


class Preview(msgspec.Struct, frozen=True):
    """One page, mapped: `records` with the stream's columns, `rejected` with reasons."""

    count: int
    has_more: bool
    declared_total: int | None
    records: list[dict[str, Any]]
    rejected: list[dict[str, Any]]
    unreadable_times: int = 0
    wanted: int | None = None
    """How many records were requested; None if that is not known."""
    warnings: list[str] = []
    """Likely mistakes; see the function `warnings`."""


def warnings(stream: Stream, preview: Preview, mapped: Collection[str]) -> list[str]:
    """Likely mistakes that a page shows, each in a line that says where to look.

    `mapped` are the fields that the configuration maps; the others are empty on purpose.
    """
    found: list[str] = []
    count, good = preview.count, len(preview.records)
    if count == 0:
        return ["the page holds no records; check records, or the directory is empty"]
    keyless = sum(letter["key"] is None for letter in preview.rejected)
    key = [column.name for column in stream.key]
    fields = " and ".join(f"fields.{name}" for name in key)
    if keyless:
        found.append(f"{keyless:,} of {count:,} have no usable id; check {fields}")
    if len(preview.rejected) > keyless:
        found.append(
            f"{len(preview.rejected) - keyless:,} of {count:,} are rejected for another reason"
        )
    ids = {tuple(record[name] for name in key) for record in preview.records}
    if len(ids) < good:
        found.append(
            f"{good:,} records share {len(ids):,} ids; check that {fields} is what "
            "identifies a record"
        )
    if preview.unreadable_times:
        found.append(
            f"{preview.unreadable_times:,} of {count:,} have a change time that cannot be read; "
            "check fields.source_updated_at"
        )
    found += _empty(preview.records, mapped)
    found += _constant(preview.records, mapped)
    found += _size(preview)
    total = preview.declared_total
    if total is not None and (total < count or (not preview.has_more and total != count)):
        found.append(
            f"the provider counts {total:,} records and lists {count:,}"
            f"{'' if preview.has_more else ' in all'}; check total and pagination"
        )
    elif total is None and not preview.has_more and count == (preview.wanted or _round(count)):
        found.append(
            f"exactly {count:,} records and nothing follows; if there are more, check pagination"
        )
    return found


def _empty(records: Sequence[Mapping[str, Any]], mapped: Collection[str]) -> list[str]:
    found = []
    for name in sorted(mapped):
        values = [
            record[name] if name in record else record["attributes"].get(name) for record in records
        ]
        empty = sum(value is None or value == "" for value in values)
        if empty and empty == len(values):
            found.append(f"{name} is empty in every record; check fields.{name}")
        elif name == "email" and 2 * empty >= len(values) > 1:
            found.append(f"email is empty in {empty:,} of {len(values):,}; check fields.email")
    return found


def _constant(records: Sequence[Mapping[str, Any]], mapped: Collection[str]) -> list[str]:
    """Warnings of fields with the same value in every record, which usually differ."""
    if len(records) < _ENOUGH:
        return []
    found = [
        f"{name} is the same in every record; check fields.{name}"
        for name in ("email", "name")
        if name in mapped
        and records[0].get(name)
        and all(record.get(name) == records[0][name] for record in records)
    ]
    if "active" in mapped and all(record.get("active") is False for record in records):
        found.append("no record is active; check fields.active")
    return found


def _size(preview: Preview) -> list[str]:
    count, wanted = preview.count, preview.wanted
    if wanted is None or not (count > wanted or (count < wanted and preview.has_more)):
        return []
    return [f"{wanted:,} records were asked for and {count:,} came; the provider has its own size"]


def _round(count: int) -> int | None:
    """`count` if it is a usual page size, else None."""
    return count if count in USUAL_SIZES else None


def preview(stream: Stream, ref: IntegrationRef, source: Source) -> Preview:
    """Fetch and map the first page of `source`. Raises the source's errors."""
    page = _first_page(source)
    columns = [column.name for column in stream.columns]
    with duckdb.connect(":memory:", config={"threads": 1}) as connection:
        connection.execute("SET GLOBAL TimeZone = 'UTC'")
        add_canonical_json(connection)
        connection.register(PAGES, pages_table(ref, [page]))
        rows = connection.execute(
            f"""
            SELECT {", ".join(columns)}, unreadable_time, attributes, source_updated_at::VARCHAR,
                key_text, reason
            FROM ({mapping_query(stream, source.fields, incoming(source.records))})
            ORDER BY seq
            """
        ).fetchall()
    found = Preview(
        count=page.count,
        # After a page that reaches the total, the next one is requested only to verify the total.
        has_more=page.next is not None and (page.total is None or page.total > page.count),
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
        unreadable_times=sum(row[-5] for row in rows),
        rejected=[{"key": row[-2], "reason": row[-1]} for row in rows if row[-1] is not None],
        wanted=page.wanted,
    )
    about_page = [*warnings(stream, found, source.fields.keys()), *page.doubts, *_links(page)]
    return msgspec.structs.replace(found, warnings=about_page + _probe(stream, found, source))


def _links(page: Page) -> list[str]:
    """A warning if the link to the next page contains a count, although it is not a number."""
    counting = counts_in_disguise(page.next)
    if counting is None:
        return []
    return [
        f"the link to the next page contains a count ({counting}), so a record that leaves while "
        "pages are read can hide another one; use a cursor that names a record, if the provider "
        "has one"
    ]


def _first_page(source: Source) -> Page:
    """The first page; where each of many parents has a list, the first page with records."""
    pages = source.pages(None)
    page = next(pages)
    if any(speaks_of_parent(expression) for expression in source.fields.values()):
        page = next((one for one in chain([page], islice(pages, _LISTS)) if one.count), page)
    return page


def _probe(stream: Stream, preview: Preview, source: Source) -> list[str]:
    """A warning if the source has no probes, or if a probe does not find a listed record.

    An inactive record is probed if there is one: the listing has it, so `single` must not report it
    as gone.
    """
    if source.snapshot:
        return []
    if not source.probes:
        return [_NO_PROBE]
    known = sorted(preview.records, key=lambda record: record.get("active") is not False)
    if not known:
        return []
    names = [column.name for column in stream.key]
    values = [known[0][name] for name in names]
    key = values[0] if len(values) == 1 else msgspec.json.encode(values).decode()
    try:
        answer = source.probe([key], [key])[key]
    except SyncError as error:
        return [f"a record of this page could not be asked for alone: {error}"]
    if answer is Presence.PRESENT:
        return []
    return [
        "a record of this page, asked for alone, is not answered as present, so missing records "
        "are deleted only after a second listing; check single"
    ]
