"""`elt-assets export`: write Parquet files for analysts."""

from __future__ import annotations

from pathlib import Path

import click

from elt_assets.cli.console.exit_statuses import FAILED
from elt_assets.cli.console.output import as_json, complain, note, print_json, print_table
from elt_assets.cli.installation import existing_platform, registered
from elt_assets.sync.admin.parquet_export import ExportTable
from elt_assets.sync.admin.parquet_export import export as write_files
from elt_assets.sync.streams import STREAMS


@click.command(
    epilog="Example: elt-assets export /srv/bi/people --table latest\n\n"
    "Exit status: 1 if an integration's files could not be written; its old files stay."
)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--integration", "integrations", metavar="ORG:ID", multiple=True, help="Only this integration."
)
@click.option(
    "--stream", "streams", type=click.Choice(list(STREAMS)), multiple=True, help="Only this stream."
)
@click.option(
    "--table",
    "tables",
    type=click.Choice([str(table) for table in ExportTable]),
    multiple=True,
    help="Only this kind of table.",
)
@as_json
def export(
    folder: Path,
    integrations: tuple[str, ...],
    streams: tuple[str, ...],
    tables: tuple[str, ...],
    as_json: bool,
) -> int:
    """Write every stream's latest rows, changes and history as hive-partitioned Parquet.

    Files are DIR/users_latest/organization_id=ORG/connected_integration_id=ID/data.parquet, etc.
    Each file is replaced in one step. Without --integration, files of removed integrations are
    deleted. The files hold personal data: only you can read DIR.
    """
    with existing_platform() as platform:
        done = write_files(
            platform,
            folder,
            refs=[registered(platform, name) for name in integrations] or None,
            streams=[STREAMS[name] for name in streams] or tuple(STREAMS.values()),
            tables=[ExportTable(name) for name in tables] or tuple(ExportTable),
        )
    if as_json:
        print_json(done)
    else:
        print_table(("table", "rows"), list(done.rows.items()))
        gone = f", {done.removed:,} files of removed integrations deleted" if done.removed else ""
        note(f"integrations: {done.integrations:,}, in {done.folder}{gone}")
        for line in done.left:
            complain(line)
    return FAILED if done.left else 0
