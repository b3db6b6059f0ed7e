"""`elt-assets backfill signin_events`: load days again through the server's daemon."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

import click

from elt_assets.cli.commands.server.backfill import in_parallel, report, warn_without_lanes
from elt_assets.cli.commands.server.runs import at_url, server_at
from elt_assets.cli.console.day_arguments import every_day, stretch
from elt_assets.cli.console.output import as_json, note, print_json
from elt_assets.identifiers import checked_name


@click.command(
    epilog="Example: elt-assets backfill signin_events --from 2026-01-01 --to 2026-01-31 "
    "--parallel 4\n\nExample: elt-assets backfill signin_events --failed",
)
@stretch(required=False)
@click.option("--failed", is_flag=True, help="Load only days whose newest run failed.")
@in_parallel
@click.option("--name", help="Name of the backfill.")
@at_url
@as_json
def signin_events(
    begin: date | None,
    end: date | None,
    failed: bool,
    parallel: int | None,
    name: str | None,
    url: str,
    as_json: bool,
) -> None:
    """Load days of sign-in events again from all APIs and files, in one run for each day.

    Afterwards `status NAME` lists the failed days, and `resume NAME` loads them again.
    """
    if not failed and (begin is None or end is None):
        raise click.UsageError("choose days with --from and --to, or with --failed")
    days = every_day(begin, end) if begin and end else []
    name = checked_name(name, "name") if name else None
    server = server_at(url)

    from elt_assets.cli.commands.sync import new_sync_id
    from elt_assets.client.launching import Lanes, Launch, launch_ranges
    from elt_assets.orchestration.assets.signin.signin_specs import SUMMARY
    from elt_assets.orchestration.jobs.sync_jobs import Urgency
    from elt_assets.orchestration.names import SIGNIN_JOB, SYNC_ID_TAG

    if failed:
        found = _days(server.failed_days(SUMMARY.key.path))
        days = [
            day for day in found if (begin is None or day >= begin) and (end is None or day <= end)
        ]
    if not days:
        if as_json:
            print_json({"backfill": None, "runs": []})
        note("nothing to do: no day failed")
        return
    name = name or new_sync_id("backfill")
    launch = Launch(
        job=server.job(SIGNIN_JOB),
        tags={SYNC_ID_TAG: name, **Urgency.BACKFILL.tags},
        lanes=Lanes(name, parallel),
        to_go_on="name the remaining days with --from and --to",
    )
    launched = launch_ranges(server, launch, [[day.isoformat()] for day in days])
    report(name, launched, "days", as_json)
    warn_without_lanes(server, parallel)


def _days(ranges: Iterable[tuple[str, str]]) -> list[date]:
    return [
        day
        for first, last in ranges
        for day in every_day(date.fromisoformat(first), date.fromisoformat(last))
    ]
