"""`elt-assets events`: load sign-in events by day, list them, and handle their dead letters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from elt_assets.cli.console.day_arguments import Day, every_day, stretch
from elt_assets.cli.console.exit_statuses import FAILED
from elt_assets.cli.console.output import as_json, complain, note, print_json, print_rows, program
from elt_assets.cli.foreground import run_days
from elt_assets.cli.installation import existing_platform
from elt_assets.config.settings import load_settings

if TYPE_CHECKING:
    from elt_assets.client.in_process_days import DayRun
    from elt_assets.signin_events.pipeline import EventPipeline
    from elt_assets.signin_events.results import DayStatus

_ROWS = 50
_EVENT_COLUMNS = (
    *("event_id", "organization_id", "integration_id", "user_external_id", "occurred_at"),
    *("result", "country", "ip", "application", "deleted", "source"),
)
_LETTER_COLUMNS = (
    *("ingested_day", "source", "organization_id", "integration_id", "file", "line", "key"),
    "reason",
)

of_day = click.option("--day", type=Day(), metavar="DAY", help="Only this day, UTC.")
of_organization = click.option("--org", "organization", help="Only this organization.")
limited = click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=_ROWS,
    show_default=True,
    help="Show at most this many; 0 shows all.",
)


@contextmanager
def pipeline() -> Iterator[EventPipeline]:
    """The sign-in events of this installation, open during the block."""
    from elt_assets.signin_events.pipeline import EventPipeline

    with existing_platform() as platform, EventPipeline(platform) as events:
        yield events


@click.group(epilog="Example: elt-assets events status")
def events() -> None:
    """Load and show sign-in events from APIs and export files, and handle their dead letters."""


@events.command(
    epilog="Example: elt-assets events load --from 2026-01-05 --to 2026-01-11\n\n"
    "Exit status: 1 if a day failed; repeat it alone with --from and --to."
)
@stretch(required=True)
@click.option("--files-only", is_flag=True, help="Read the days' files again, without any API.")
@as_json
def load(begin: date, end: date, files_only: bool, as_json: bool) -> int:
    """Load days through Dagster in this process, one after the other; no server is needed.

    A day that was loaded before is loaded again, and changes only if its sources changed.
    """
    days = every_day(begin, end)
    with existing_platform():
        pass
    done = run_days(days, load_settings(), files_only=files_only, ended=_report)
    if as_json:
        print_json({"days": done})
    else:
        with pipeline() as events:
            _print_days(events.reports.days(begin, end))
    return 0 if all(one.success for one in done) else FAILED


@events.command(epilog="Example: elt-assets events status --from 2026-01-01")
@stretch(required=False)
@as_json
def status(begin: date | None, end: date | None, as_json: bool) -> None:
    """Show each day: what was fetched, rejected and loaded, and what failed and why."""
    with pipeline() as events:
        found = events.reports.days(begin, end)
        waiting = events.waiting("load")
    if as_json:
        print_json(found)
        return
    _print_days(found)
    if waiting:
        note(
            f"{len(waiting):,} days have records that are not loaded, first {waiting[0]}: "
            f"{program()} events load --from {waiting[0]} --to {waiting[0]}"
        )


@events.command(epilog="Example: elt-assets events errors --day 2026-01-05")
@of_day
@as_json
def errors(day: date | None, as_json: bool) -> None:
    """Show the errors of fetching days from APIs, attempt by attempt."""
    with pipeline() as events:
        found = events.reports.errors(day)
    _show(found, list(found[0]) if found else (), "errors", as_json)


@events.command("list", epilog="Example: elt-assets events list --day 2026-01-05 --org org-001")
@of_day
@of_organization
@limited
@as_json
def list_(day: date | None, organization: str | None, limit: int, as_json: bool) -> None:
    """List loaded events, newest first. They hold personal data."""
    with pipeline() as events:
        found = events.reports.events(day=day, organization=organization, limit=limit or None)
    _show(found, _EVENT_COLUMNS, "events", as_json)
    if limit and len(found) == limit and not as_json:
        note("there may be more: --limit 0 shows all")


@events.command(epilog="Example: elt-assets events summary --day 2026-01-05 --json")
@of_day
@as_json
def summary(day: date | None, as_json: bool) -> None:
    """Show sign-ins by day and organization, with failures, users and new countries."""
    with pipeline() as events:
        found = events.reports.summary(day=day)
    _show(found, list(found[0]) if found else (), "summaries", as_json)


@events.command(epilog="Example: elt-assets events refresh")
def refresh() -> None:
    """Rebuild all events and summaries from the fetched records, and swap them in.

    Use it after a change of mapping or precedence. Nothing is fetched, and readers see the old
    tables until the new ones are complete.
    """
    with pipeline() as events:
        count = events.refresh()
    note(f"{count:,} events rebuilt")


@events.group(epilog="Example: elt-assets events rejected count")
def rejected() -> None:
    """Handle dead letters: records that could not be used, with the reason."""


@rejected.command("list", epilog="Example: elt-assets events rejected list --day 2026-01-05")
@of_day
@of_organization
@limited
@as_json
def rejected_list(day: date | None, organization: str | None, limit: int, as_json: bool) -> None:
    """List dead letters with file and line or integration; --json adds the record."""
    with pipeline() as events:
        found = events.reports.rejected(day=day, organization=organization, limit=limit or None)
    _show(found, _LETTER_COLUMNS, "dead letters", as_json)


@rejected.command("count", epilog="Example: elt-assets events rejected count --json")
@as_json
def rejected_count(as_json: bool) -> None:
    """Count dead letters by day, source and reason."""
    with pipeline() as events:
        found = events.reports.rejected_counts()
    _show(found, list(found[0]) if found else (), "dead letters", as_json)


@rejected.command("retry", epilog="Example: elt-assets events rejected retry 2026-01-05")
@click.argument("day", type=Day(), metavar="DAY")
@as_json
def rejected_retry(day: date, as_json: bool) -> None:
    """Map a day's records again after a correction of mapping or registry; fetch nothing."""
    with pipeline() as events:
        found = events.retry_rejected(day)
    if as_json:
        print_json(found)
        return
    for one in found:
        note(
            f"{one.source}: {one.normalized:,} of {one.read:,} accepted, {one.rejected:,} rejected"
        )


@rejected.command("expire", epilog="Example: elt-assets events rejected expire --before 2026-01-01")
@click.option(
    "--before",
    type=Day(),
    metavar="DAY",
    required=True,
    help="Delete those of days before this one.",
)
def rejected_expire(before: date) -> None:
    """Delete the dead letters of old days."""
    with pipeline() as events:
        note(f"{events.reports.expire_rejected(before):,} dead letters deleted")


@rejected.command("export", epilog="Example: elt-assets events rejected export letters.parquet")
@click.argument("target", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE")
def rejected_export(target: Path) -> None:
    """Write all dead letters to a new Parquet file. It holds personal data."""
    with pipeline() as events:
        note(f"{events.reports.export_rejected(target):,} dead letters are in {target}")


def _report(day: DayRun) -> None:
    """Report the result of a day on standard error."""
    note(f"{day.day} {'loaded' if day.success else 'failed'}")
    for asset, error in day.failed.items():
        note(f"  {asset}: {error}")
    if day.skipped:
        note(f"  skipped because of it: {', '.join(day.skipped)}")


def _print_days(found: Sequence[DayStatus]) -> None:
    rows = [msgspec.to_builtins(one) for one in found]
    columns = [column for column in rows[0] if column != "errors"] if rows else []
    _show(rows, columns, "days", as_json=False)
    for one in found:
        for error in one.errors:
            complain(f"{one.day}: {error}")
    failed = [one.day for one in found if one.failed_extractions or one.failed_files]
    if failed:
        note(
            f"{len(failed):,} days are incomplete; load the newest again: "
            f"{program()} events load --from {failed[0]} --to {failed[0]}"
        )


def _show(rows: Sequence[dict[str, Any]], columns: Sequence[str], what: str, as_json: bool) -> None:
    if as_json:
        print_json(rows)
    else:
        print_rows(rows, columns, what)
