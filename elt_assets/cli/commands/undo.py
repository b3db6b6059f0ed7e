"""`elt-assets undo` and `elt-assets rebuild`: reverse a sync, or rebuild from the change log."""

from __future__ import annotations

import click

from elt_assets.cli.console.as_person import as_person
from elt_assets.cli.console.output import as_json, note, print_json
from elt_assets.cli.console.stream_option import of_stream
from elt_assets.cli.installation import existing_platform, registered
from elt_assets.sync.streams import Stream


@click.command(epilog="Example: elt-assets undo org-001:okta-main --sync-id daily-2026-11-22")
@click.argument("integration", metavar="ORG:ID")
@click.option(
    "--sync-id", required=True, help="The sync to reverse; `elt-assets syncs` lists them."
)
@of_stream
@click.option(
    "--force", is_flag=True, help="Also undo changes of records that later syncs changed again."
)
@as_json
@as_person
def undo(integration: str, sync_id: str, stream: Stream, force: bool, as_json: bool) -> None:
    """Reverse one sync with a new sync that restores the earlier rows."""
    with existing_platform() as platform:
        ref = registered(platform, integration)
        outcome = platform.undo(stream, ref, sync_id, force=force)
    if as_json:
        print_json({"sync": [outcome.as_json()]})
        return
    counts = outcome.counts
    note(
        f"{outcome.partition}: {sync_id} is undone by {outcome.sync_id}: {counts.inserts:,} "
        f"restored, {counts.updates:,} set back, {counts.deletes:,} removed again, "
        f"{counts.latest:,} in latest. The next sync applies the provider's state again"
    )


@click.command(epilog="Example: elt-assets rebuild org-001:okta-main")
@click.argument("integration", metavar="ORG:ID")
@of_stream
@as_json
@as_person
def rebuild(integration: str, stream: Stream, as_json: bool) -> None:
    """Rebuild the latest table of one integration from its change log."""
    with existing_platform() as platform:
        rebuilt = platform.rebuild(stream, registered(platform, integration))
    if as_json:
        print_json(rebuilt)
        return
    note(
        f"{rebuilt.partition}: {rebuilt.after:,} {rebuilt.stream} rebuilt from the change log "
        f"(version {rebuilt.version}), {rebuilt.before:,} before"
    )
