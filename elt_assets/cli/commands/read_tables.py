"""Commands that read: users, records, changes, rejected, syncs and counts.

They do not import Dagster, which takes longer than they do.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import click
import msgspec

from elt_assets.cli.console.output import as_json, note, print_json, print_table
from elt_assets.cli.console.stream_option import StreamName, of_stream
from elt_assets.cli.installation import existing_platform, registered
from elt_assets.sync.admin.completeness import completeness
from elt_assets.sync.state.ledger import SyncRow
from elt_assets.sync.streams import USERS, Stream

_TABLE_ROWS = 50

limited = click.option(
    "--limit",
    type=click.IntRange(min=0),
    help=f"Show so many at most, of what has an order in time the newest; 0 is all. "
    f"By default a table shows {_TABLE_ROWS} and JSON all.",
)


at_moment = click.option(
    "--as-of",
    type=click.DateTime(
        [
            "%Y-%m-%d",
            "%Y-%m-%dT%H:%M:%S",
            "%Y-%m-%dT%H:%M:%SZ",
            "%Y-%m-%dT%H:%M:%S.%f",
            "%Y-%m-%dT%H:%M:%S.%fZ",
        ]
    ),
    help="As they were at this moment, UTC; read from the change log.",
)


@click.command(epilog="Example: elt-assets users demo-001:people-001 --limit 10")
@click.argument("integration", metavar="ORG:ID")
@at_moment
@limited
@as_json
def users(integration: str, as_of: datetime | None, limit: int | None, as_json: bool) -> None:
    """Show the users of one integration as applications read them (the latest table)."""
    _show_records(USERS, integration, as_of, limit, as_json)


@click.command(epilog="Example: elt-assets records group_memberships org-001:okta-main")
@click.argument("stream", type=StreamName(), metavar="STREAM")
@click.argument("integration", metavar="ORG:ID")
@at_moment
@limited
@as_json
def records(
    stream: Stream, integration: str, as_of: datetime | None, limit: int | None, as_json: bool
) -> None:
    """Show users, groups or group_memberships of one integration as applications read them."""
    _show_records(stream, integration, as_of, limit, as_json)


def _show_records(
    stream: Stream, integration: str, as_of: datetime | None, limit: int | None, as_json: bool
) -> None:
    moment = None if as_of is None else as_of.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    with existing_platform() as platform:
        found = platform.records(stream, registered(platform, integration), moment)
    if as_json:
        print_json(found[:limit] if limit else found)
        return
    shown = found[: _TABLE_ROWS if limit is None else limit or None]
    columns = [*(column.name for column in stream.columns), "attributes", "last_updated"]
    _table(shown, columns, stream.name.replace("_", " "), len(found) - len(shown))


@click.command(epilog="Example: elt-assets changes demo-001:people-001 --json")
@click.argument("integration", metavar="ORG:ID")
@click.option("--sync-id", help="Only the changes of this sync.")
@of_stream
@limited
@as_json
def changes(
    integration: str, sync_id: str | None, stream: Stream, limit: int | None, as_json: bool
) -> None:
    """Show the change log of one integration: who was inserted, updated or deleted, and how."""
    with existing_platform() as platform:
        log = platform.changes(stream, registered(platform, integration), sync_id)
    if as_json:
        print_json(_newest(log, limit))
        return
    shown = [
        {**change, "what": _what_changed(change["before"], change["after"])}
        for change in _newest(log, _TABLE_ROWS if limit is None else limit)
    ]
    columns = ("sync_id", "sequence", "change_type", "external_id", "what", "detected_at")
    _table(shown, columns, "changes", len(log) - len(shown))


@click.command(epilog="Example: elt-assets rejected org-001:okta-main --json")
@click.argument("integration", metavar="ORG:ID")
@of_stream
@limited
@as_json
def rejected(integration: str, stream: Stream, limit: int | None, as_json: bool) -> None:
    """Show the records of one integration that could not be used, and why (the dead letters)."""
    with existing_platform() as platform:
        letters = platform.rejected(stream, registered(platform, integration))
    if as_json:
        print_json(_newest(letters, limit))
        return
    shown = _newest(letters, _TABLE_ROWS if limit is None else limit)
    columns = ("sync_id", "batch", "seq", "key", "reason")
    _table(shown, columns, "rejected records", len(letters) - len(shown))


@click.command(epilog="Example: elt-assets syncs org-001:okta-main --limit 5")
@click.argument("integration", metavar="[ORG:ID]", required=False)
@click.option(
    "--limit", type=click.IntRange(min=1), default=50, show_default=True, help="Newest so many."
)
@as_json
def syncs(integration: str | None, limit: int, as_json: bool) -> None:
    """Show the ledger: every sync of one integration, or of all, newest first."""
    with existing_platform() as platform:
        ref = registered(platform, integration) if integration else None
        rows = [_flat(row) for row in platform.syncs(ref, limit)]
    if as_json:
        print_json(rows)
        return
    facts = ("partition", "stream", "sync_id", "status")
    numbers = ("staged", "rejected", "inserts", "updates", "deletes", "latest")
    listed = ("complete", "why_incomplete")
    _table(rows, (*facts, *numbers, *listed, "started_at", "error"), "syncs")


@click.command(epilog="Example: elt-assets counts")
@click.argument("integration", metavar="[ORG:ID]", required=False)
@of_stream
@as_json
def counts(integration: str | None, stream: Stream, as_json: bool) -> None:
    """Show what stands where: staged by the last sync, unique, duplicates, and in latest now."""
    with existing_platform() as platform:
        refs = (
            [registered(platform, integration)]
            if integration
            else [found.ref for found in platform.registry.all() if found.offers(stream)]
        )
        rows = [platform.counts(stream, ref) for ref in refs]
    if as_json:
        print_json(rows)
        return
    _table(rows, ("partition", "staged", "unique", "duplicates", "latest"), "integrations")


def _flat(row: SyncRow) -> dict[str, Any]:
    """A row of the ledger, its counts on the same level as the other fields.

    `complete` is null where a sync settled on no listing.
    """
    fields: dict[str, Any] = msgspec.to_builtins(row)
    complete = completeness(row.status, row.mode, row.certificate)
    return {
        "partition": row.partition,
        **fields,
        **fields.pop("counts"),
        "complete": complete,
        "why_incomplete": "; ".join(row.certificate.reasons) if complete is False else None,
    }


def _newest(rows: list[dict[str, Any]], limit: int | None) -> list[dict[str, Any]]:
    """The last of rows that are in the order in which they came about."""
    return rows[-limit:] if limit else rows


def _table(
    rows: Sequence[dict[str, Any]], columns: Sequence[str], what: str, hidden: int = 0
) -> None:
    """Print rows for people, and how many more there are."""
    if rows:
        print_table(columns, [[row[column] for column in columns] for row in rows])
    else:
        note(f"no {what}")
    if hidden > 0:
        note(f"{hidden:,} more {what}: --limit 0 shows all, --json prints them as JSON")


def _what_changed(before: dict[str, Any] | None, after: dict[str, Any] | None) -> str:
    """Old and new value of every field that differs; the name alone for a whole user."""
    if before is None or after is None:
        return str((after or before or {}).get("name") or "")
    old, new = _fields(before), _fields(after)
    return ", ".join(
        f"{field}: {_word(old.get(field))} → {_word(new.get(field))}"
        for field in dict.fromkeys((*old, *new))
        if old.get(field) != new.get(field)
    )


def _fields(image: dict[str, Any]) -> dict[str, Any]:
    return {**image, **image["attributes"], "attributes": None}


def _word(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
