"""`elt-assets backup` and `repair-status`: copy an installation, and repair a restored copy."""

from __future__ import annotations

from pathlib import Path

import click

from elt_assets.cli.console.exit_statuses import FAILED
from elt_assets.cli.console.output import as_json, complain, note, print_json
from elt_assets.cli.installation import existing_platform
from elt_assets.config.settings import load_settings
from elt_assets.sync.admin.installation_backup import backup as copy_installation


@click.command(
    epilog="Example: elt-assets backup /srv/backup/2026-11-22\n\n"
    "To restore: copy the folder to where ELT_ASSETS_HOME points, then `elt-assets check`.\n\n"
    "Exit status: 1 if an integration's history could not be copied."
)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@as_json
def backup(folder: Path, as_json: bool) -> int:
    """Copy both stores, in a consistent state, into a new folder DIR.

    DIR is a home like the original, without Dagster's history and dropped files. It appears only
    once the copy is complete, and only you can read it.
    """
    with existing_platform() as platform:
        done = copy_installation(platform, folder)
    if as_json:
        print_json(done)
    else:
        note(
            f"integrations: {done.integrations:,}, warehouse files: {done.files:,}, "
            f"{done.bytes:,} bytes in {done.folder}"
        )
        for line in done.left:
            complain(f"copied without its history: {line}")
    return FAILED if done.left else 0


@click.command(
    "repair-status",
    epilog="Example: elt-assets repair-status\n\n"
    "For a home that was restored from a backup: a backup leaves out Dagster's history.",
)
@as_json
def repair_status(as_json: bool) -> None:
    """Report to Dagster the recorded status of partitions that the web UI shows as missing."""
    from elt_assets.orchestration import status_repair
    from elt_assets.orchestration.instance.opening import open_instance

    with existing_platform() as platform, open_instance(load_settings()) as instance:
        repaired = status_repair.repair_status(platform, instance)
    if as_json:
        print_json({"repaired": repaired})
        return
    for table, count in repaired.items():
        note(f"{table}: {count:,} partitions are reported as materialized")
    if not repaired:
        note("every partition that the ledger knows has its status")
