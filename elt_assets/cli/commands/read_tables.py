"""Commands that read: users, records, changes, rejected, syncs and counts."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click
import msgspec

from elt_assets.cli.console.output import as_json, print_json, print_rows
from elt_assets.cli.console.stream_option import StreamName, of_stream
from elt_assets.cli.installation import existing_platform, registered
from elt_assets.sync.admin.completeness import completeness
from elt_assets.sync.admin.totals import totals
from elt_assets.sync.state.ledger import SyncRow
from elt_assets.sync.streams import USERS, Stream

_TABLE_ROWS = 50

limited = click.option(
    "--limit",
    type=click.IntRange(min=0),
    help=f"Show at most this many rows, the newest where rows have a time; 0 shows all. "
    f"Default: {_TABLE_ROWS} in a table, all in JSON.",
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
    help="Show the state at this moment (UTC), from the change log.",
)


@click.command(epilog="Example: elt-assets users demo-001:people-001 --limit 10")
@click.argument("integration", metavar="ORG:ID")
@at_moment
@limited
@as_json
def users(integration: str, as_of: datetime | None, limit: int | None, as_json: bool) -> None:
    """Show the users of one integration, as applications read them in the latest table."""
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
    """Show users, groups or group_memberships of one integration, as applications read them."""
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
    print_rows(shown, columns, stream.name.replace("_", " "), len(found) - len(shown))


@click.command(epilog="Example: elt-assets changes demo-001:people-001 --json")
@click.argument("integration", metavar="ORG:ID")
@click.option("--sync-id", help="Only the changes of this sync.")
@of_stream
@limited
@as_json
def changes(
    integration: str, sync_id: str | None, stream: Stream, limit: int | None, as_json: bool
) -> None:
    """Show the change log of one integration: what was inserted, updated or deleted."""
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
    print_rows(shown, columns, "changes", len(log) - len(shown))


@click.command(epilog="Example: elt-assets rejected org-001:okta-main --json")
@click.argument("integration", metavar="ORG:ID")
@of_stream
@limited
@as_json
def rejected(integration: str, stream: Stream, limit: int | None, as_json: bool) -> None:
    """Show the dead letters of one integration: unusable records, with the reason."""
    with existing_platform() as platform:
        letters = platform.rejected(stream, registered(platform, integration))
    if as_json:
        print_json(_newest(letters, limit))
        return
    shown = _newest(letters, _TABLE_ROWS if limit is None else limit)
    columns = ("sync_id", "batch", "seq", "key", "reason")
    print_rows(shown, columns, "rejected records", len(letters) - len(shown))


@click.command(epilog="Example: elt-assets syncs org-001:okta-main --limit 5")
@click.argument("integration", metavar="[ORG:ID]", required=False)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    help="Number of syncs to show, newest first.",
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
    numbers = ("requests", "staged", "rejected", "inserts", "updates", "deletes", "latest")
    listed = ("complete", "why_incomplete")
    print_rows(rows, (*facts, *numbers, *listed, "started_at", "error"), "syncs")


@click.command(epilog="Example: elt-assets counts")
@click.argument("integration", metavar="[ORG:ID]", required=False)
@of_stream
@click.option("--exact", is_flag=True, help="Count the rows of every integration's own tables.")
@as_json
def counts(integration: str | None, stream: Stream, exact: bool, as_json: bool) -> None:
    """Count records: staged, unique and duplicate in the last sync, and latest now.

    The ledger has these numbers. With --exact the tables are read, which takes longer.
    """
    with existing_platform() as platform:
        refs = (
            [registered(platform, integration)]
            if integration
            else platform.registry.offering(stream, disabled=True)
        )
        rows = (
            [platform.counts(stream, ref) for ref in refs]
            if exact
            else totals(platform, stream, refs)
        )
    if as_json:
        print_json(rows)
        return
    print_rows(rows, ("partition", "staged", "unique", "duplicates", "latest"), "integrations")


_OF_AN_ATTEMPT = ("recorded", "reached", "seconds", "sample")
"""Fields of an outcome that the ledger does not keep."""


def _flat(row: SyncRow) -> dict[str, Any]:
    """A row of the ledger, with its counts on the same level as the other fields.

    `complete` is null for a sync that settled without a listing.
    """
    fields: dict[str, Any] = msgspec.to_builtins(row)
    for name in _OF_AN_ATTEMPT:
        del fields[name]
    complete = completeness(row.status, row.mode, row.certificate)
    return {
        "partition": row.partition,
        **fields,
        **fields.pop("counts"),
        "complete": complete,
        "why_incomplete": "; ".join(row.certificate.reasons) if complete is False else None,
    }


def _newest(rows: list[dict[str, Any]], limit: int | None) -> list[dict[str, Any]]:
    """The last rows of a list in order of time."""
    return rows[-limit:] if limit else rows


def _what_changed(before: dict[str, Any] | None, after: dict[str, Any] | None) -> str:
    """Old and new value of every field that differs; the name for an insert or a delete."""
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
