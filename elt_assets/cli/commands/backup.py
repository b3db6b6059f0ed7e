"""`elt-assets backup`: copy the installation while it is in use."""

from __future__ import annotations

from pathlib import Path

import click

from elt_assets.cli.console.exit_statuses import FAILED
from elt_assets.cli.console.output import as_json, complain, note, print_json
from elt_assets.cli.installation import existing_platform
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

    DIR is a home like the original, without Dagster's history and dropped files. It appears when
    it is complete, and only you can read it.
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
            complain(f"without its history: {line}")
    return FAILED if done.left else 0
