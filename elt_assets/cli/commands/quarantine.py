"""`elt-assets quarantine …`: look at deletes that were withheld, and decide about them.

Belongs here: the three commands and who is recorded as deciding. Does not: what withholds
deletes (sync.detect.delete_guard) or how a decision is carried out (sync.apply.compensation).
"""

from __future__ import annotations

from typing import Any

import click

from elt_assets.cli.console.as_person import as_person
from elt_assets.cli.console.output import as_json, note, print_json, print_table
from elt_assets.cli.installation import existing_platform, registered
from elt_assets.sync.state.actor import account, acting_as
from elt_assets.sync.streams import USERS

_SHOWN = 3


def _decided_by() -> str:
    return acting_as() or account()


@click.group(epilog="Example: elt-assets quarantine list")
def quarantine() -> None:
    """Decide about deletes that were withheld."""


@quarantine.command("list", epilog="Example: elt-assets quarantine list --json")
@as_json
def list_quarantined(as_json: bool) -> None:
    """Show every sync whose withheld deletes wait for a decision, and whom it would delete."""
    with existing_platform() as platform:
        waiting: list[dict[str, Any]] = [
            {
                "partition": row.partition,
                "stream": row.stream,
                "sync_id": row.sync_id,
                "withheld_deletes": row.counts.withheld_deletes,
                "latest": row.counts.latest,
                "since": row.finished_at,
                "reasons": list(row.reasons),
                "sample": [change["external_id"] for change in platform.withheld_sample(row)],
            }
            for row in platform.quarantined()
        ]
    if as_json:
        print_json(waiting)
        return
    if not waiting:
        note("nothing waits for a decision")
        return
    columns = (
        "partition",
        "stream",
        "sync_id",
        "withheld_deletes",
        "latest",
        "since",
        "reasons",
        "sample",
    )
    print_table(
        columns,
        [
            [
                row["partition"],
                row["stream"],
                row["sync_id"],
                row["withheld_deletes"],
                row["latest"],
                row["since"],
                "; ".join(row["reasons"]),
                ", ".join(row["sample"][:_SHOWN]) + (", …" if len(row["sample"]) > _SHOWN else ""),
            ]
            for row in waiting
        ],
    )
    note("`elt-assets quarantine approve ORG:ID` deletes them, `reject ORG:ID` keeps them")


@quarantine.command(epilog="Example: elt-assets quarantine approve org-001:okta-main")
@click.argument("integration", metavar="ORG:ID")
@as_person
@as_json
def approve(integration: str, as_json: bool) -> None:
    """Delete exactly the users whose deletes were withheld and who have not changed since."""
    with existing_platform() as platform:
        outcomes = platform.approve(registered(platform, integration), _decided_by())
    if as_json:
        print_json({"sync": [outcome.as_json() for outcome in outcomes]})
        return
    for outcome in outcomes:
        which = "" if outcome.stream == USERS.name else f" --stream {outcome.stream}"
        note(
            f"{outcome.partition}: {outcome.counts.deletes:,} {outcome.stream} deleted, "
            f"{outcome.counts.latest:,} in latest; `elt-assets undo {outcome.partition} "
            f"--sync-id {outcome.sync_id}{which}` brings them back"
        )


@quarantine.command(epilog="Example: elt-assets quarantine reject org-001:okta-main")
@click.argument("integration", metavar="ORG:ID")
@as_person
def reject(integration: str) -> None:
    """Keep the users whose deletes were withheld."""
    with existing_platform() as platform:
        rows = platform.reject(registered(platform, integration), _decided_by())
    for row in rows:
        note(f"{row.partition}: {row.counts.withheld_deletes:,} {row.stream} are kept")
