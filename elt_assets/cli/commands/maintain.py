"""`elt-assets maintain`: apply the retention policy and reclaim disk space, now.

`orchestration.jobs.maintenance_job` does the same weekly.
"""

from __future__ import annotations

import click
import msgspec

from elt_assets.cli.console.output import as_json, note, print_json, print_table
from elt_assets.cli.installation import existing_platform


@click.command(
    epilog="Example: elt-assets maintain --dry-run\n\n"
    "The retention policy: ELT_ASSETS_KEEP_EXTRACTIONS, _KEEP_CHANGES_DAYS, _KEEP_SYNCS_DAYS, "
    "_KEEP_RUNS_DAYS, _KEEP_DROPS_DAYS, _KEEP_EVENT_RECORDS_DAYS, _KEEP_FEED_DAYS, "
    "_KEEP_FEED_UNREAD_DAYS."
)
@click.option("--dry-run", is_flag=True, help="Only show what would be done.")
@as_json
def maintain(dry_run: bool, as_json: bool) -> None:
    """Delete old records, changes, syncs and runs; compact files; archive dropped files.

    The server does this weekly. An integration that is being synced is skipped until the next
    time.
    """
    with existing_platform() as platform:
        from elt_assets.definitions import own_runs
        from elt_assets.orchestration.instance.opening import open_instance
        from elt_assets.orchestration.jobs.maintenance_job import everything

        with open_instance(platform.settings) as instance:
            report = everything(instance, platform, own_runs(), dry_run=dry_run)
    if as_json:
        print_json({"dry_run": dry_run, **msgspec.to_builtins(report)})
        return
    columns = ("what", "would be removed" if dry_run else "removed", "bytes reclaimed")
    print_table(columns, [[work.what, work.count, work.freed_bytes] for work in report.works])
    for line in report.left:
        note(f"skipped until the next time: {line}")
