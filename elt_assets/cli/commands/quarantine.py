"""`elt-assets quarantine …`: show withheld changes, and decide about them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from elt_assets.cli.console.as_person import as_person
from elt_assets.cli.console.output import as_json, note, print_json, print_table
from elt_assets.cli.installation import existing_platform, registered
from elt_assets.config.settings import load_settings
from elt_assets.errors import EltAssetsError
from elt_assets.sync.outcome import Counts
from elt_assets.sync.service import REJECTION_LASTS, SyncService
from elt_assets.sync.state.actor import account, acting_as
from elt_assets.sync.state.ledger import SyncRow
from elt_assets.sync.streams import USERS

_SHOWN = 3
_WAITING = ("partition", "stream", "sync_id", "withheld", "latest", "since", "reasons", "sample")
_REJECTION = ("changes", "decided_by", "decided_at", "until")


def _decided_by() -> str:
    return acting_as() or account()


def _undelivered(error: EltAssetsError) -> None:
    note(f"the decision is stored, but the web UI shows it only after the next sync: {error}")


@click.group(epilog="Example: elt-assets quarantine list")
def quarantine() -> None:
    """Decide about withheld changes: deletes, deactivations, lost values, changed keys."""


@quarantine.command("list", epilog="Example: elt-assets quarantine list --json")
@as_json
def list_quarantined(as_json: bool) -> None:
    """Show the withheld changes that wait for a decision, and the rejections in force."""
    with existing_platform() as platform:
        waiting = [_waiting(platform, row) for row in platform.quarantined()]
        rejected = [
            {
                "partition": f"{row['organization_id']}:{row['connected_integration_id']}",
                "state": "rejected",
                **{name: row[name] for name in ("stream", "sync_id", *_REJECTION)},
            }
            for row in platform.rejections()
        ]
    if as_json:
        print_json([*waiting, *rejected])
        return
    if waiting:
        print_table(_WAITING, [[_cell(name, row) for name in _WAITING] for row in waiting])
        note(
            "`elt-assets quarantine approve ORG:ID` applies these changes, `reject ORG:ID` keeps "
            "the rows as they are"
        )
    else:
        note("nothing waits for a decision")
    if rejected:
        columns = ("partition", "stream", *_REJECTION)
        print_table(columns, [[row[name] for name in columns] for row in rejected])
        note(
            "these changes are rejected and will not be applied until then; "
            "`elt-assets quarantine reopen ORG:ID` ends the rejection"
        )


def _waiting(platform: SyncService, row: SyncRow) -> dict[str, Any]:
    sample = platform.withheld_sample(row)
    return {
        "partition": row.partition,
        "state": "waiting",
        "stream": row.stream,
        "sync_id": row.sync_id,
        "withheld_deletes": row.counts.withheld_deletes,
        "withheld_updates": row.counts.withheld_updates,
        "withheld_inserts": row.counts.withheld_inserts,
        "latest": row.counts.latest,
        "since": row.finished_at,
        "reasons": list(row.reasons),
        "sample": [change["external_id"] for change in sample],
        "changes": list(sample),
    }


def _cell(name: str, row: dict[str, Any]) -> object:
    match name:
        case "withheld":
            names = ("withheld_deletes", "withheld_updates", "withheld_inserts")
            return Counts(**{one: row[one] for one in names}).withheld_by_type
        case "reasons":
            return "; ".join(row["reasons"])
        case "sample":
            shown = [
                change["external_id"]
                + (f" ({', '.join(change['fields'])})" if change["fields"] else "")
                for change in row["changes"][:_SHOWN]
            ]
            return ", ".join(shown) + (", …" if len(row["changes"]) > _SHOWN else "")
    return row[name]


@quarantine.command(epilog="Example: elt-assets quarantine approve org-001:okta-main")
@click.argument("integration", metavar="ORG:ID")
@as_person
@as_json
def approve(integration: str, as_json: bool) -> None:
    """Apply exactly the withheld changes, to rows that have not changed since then."""
    with existing_platform() as platform:
        outcomes = platform.approve(registered(platform, integration), _decided_by())
    from elt_assets.orchestration.assets.quarantine_details import approval_events, report

    try:
        report(load_settings(), approval_events(outcomes))
    except EltAssetsError as error:
        _undelivered(error)
    if as_json:
        print_json({"sync": [outcome.as_json() for outcome in outcomes]})
        return
    for outcome in outcomes:
        which = "" if outcome.stream == USERS.name else f" --stream {outcome.stream}"
        counts = outcome.counts
        types = {"deleted": counts.deletes, "updated": counts.updates, "inserted": counts.inserts}
        done = ", ".join(f"{count:,} {name}" for name, count in types.items() if count)
        note(
            f"{outcome.partition}: {outcome.stream}: {done or 'nothing left to apply'}; "
            f"{counts.latest:,} in latest; `elt-assets undo {outcome.partition} "
            f"--sync-id {outcome.sync_id}{which}` reverses it"
        )


@quarantine.command(epilog="Example: elt-assets quarantine reject acme:okta --until 2027-01-31")
@click.argument("integration", metavar="ORG:ID")
@as_person
@click.option(
    "--until",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]),
    help="When the rejection ends (UTC). Default: in 30 days.",
)
def reject(integration: str, until: datetime | None) -> None:
    """Keep the rows as they are, and withhold the same changes until the rejection ends."""
    moment = datetime.now(UTC) + REJECTION_LASTS if until is None else until.replace(tzinfo=UTC)
    with existing_platform() as platform:
        rows = platform.reject(registered(platform, integration), _decided_by(), moment)
    from elt_assets.orchestration.assets.quarantine_details import rejection_events, report

    try:
        report(load_settings(), rejection_events(rows, _decided_by(), moment))
    except EltAssetsError as error:
        _undelivered(error)
    for row in rows:
        note(
            f"{row.partition}: {row.stream}: {row.counts.withheld_by_type} rejected; the rows stay"
        )


@quarantine.command(epilog="Example: elt-assets quarantine reopen org-001:okta-main")
@click.argument("integration", metavar="ORG:ID")
@as_person
def reopen(integration: str) -> None:
    """End the rejections of an integration; its next sync quarantines the changes again."""
    with existing_platform() as platform:
        ended = platform.reopen(registered(platform, integration))
    note(f"{integration}: {ended:,} rejections ended; the next sync asks for a decision again")
