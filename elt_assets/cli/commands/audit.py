"""`elt-assets audit …`: show and verify the log of decisions and changes."""

from __future__ import annotations

import click
import msgspec

from elt_assets.cli.console.exit_statuses import FAILED
from elt_assets.cli.console.output import as_json, note, print_json, print_table
from elt_assets.cli.installation import existing_platform


@click.group(epilog="Example: elt-assets audit list")
def audit() -> None:
    """Show who decided or changed what, and verify that log."""


@audit.command("list", epilog="Example: elt-assets audit list --json")
@as_json
def list_entries(as_json: bool) -> None:
    """Show every decision and change of the configuration, oldest first."""
    with existing_platform() as platform:
        entries = platform.audit_log.entries()
    if as_json:
        print_json(entries)
        return
    print_table(
        ("entry", "at", "account", "as", "action", "integration", "detail"),
        [
            (
                str(entry.sequence),
                entry.at,
                entry.account,
                entry.acting_as,
                entry.action,
                entry.partition,
                msgspec.json.encode(entry.detail).decode(),
            )
            for entry in entries
        ],
    )


@audit.command(
    epilog="Example: elt-assets audit verify --head 12:5f0c…\n\n"
    "Exit status: 1 if an entry was changed, removed, inserted or cut off, else 0."
)
@click.option("--head", metavar="NUMBER:HMAC", help="Head that an earlier `audit verify` printed.")
@as_json
def verify(head: str | None, as_json: bool) -> int:
    """Check each entry's HMAC and position, and the end of the log against known heads."""
    with existing_platform() as platform:
        found = platform.audit_log.verify(head)
    if as_json:
        print_json(found)
    else:
        for problem in found.problems:
            note(problem)
        verdict = "is not intact" if found.problems else "is intact"
        click.echo(f"The audit log {verdict}: {found.entries:,} entries, head {found.head}.")
        if not found.compared:
            note("no earlier head is stored; give --head to learn whether the end was cut off")
    return FAILED if found.problems else 0
