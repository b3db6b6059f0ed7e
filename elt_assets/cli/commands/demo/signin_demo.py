"""`elt-assets demo events`: load days of sign-ins from an API and files; repair a failed day."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING

import click
import msgspec

from elt_assets.cli.commands.demo.comparison import KeyComparison, compare_events
from elt_assets.cli.commands.demo.provider import command_line, token_file_of, token_in
from elt_assets.cli.commands.demo.registered_demo import clear_earlier_demo, register
from elt_assets.cli.commands.sync import new_sync_id
from elt_assets.cli.console.output import as_json, note, print_json, print_table, program
from elt_assets.cli.foreground import run_days, run_syncs
from elt_assets.client.sync_command import SyncCommand
from elt_assets.config.settings import Settings, load_settings
from elt_assets.demo.layout import DemoLayout
from elt_assets.demo.process import ProviderProcess
from elt_assets.demo.signin_files import exports, signin_truth, unusable, write_exports
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import USERS

if TYPE_CHECKING:
    from elt_assets.client.in_process_days import DayRun

_REFUSED = 403
"""A permanent error: further attempts do not help until a person repairs the cause."""
_FEWEST_DAYS = 3
_LONGEST_ERROR = 200


class Held(msgspec.Struct, frozen=True):
    """The content of the warehouse, compared with the provider and its files."""

    events: KeyComparison
    letters: int
    summaries: int


@click.command(epilog="Example: elt-assets demo events --days 5")
@click.option(
    "--days",
    "count",
    type=click.IntRange(min=_FEWEST_DAYS, max=365),
    default=14,
    show_default=True,
    help="Number of days before today.",
)
@click.option(
    "--users", type=int, default=50, show_default=True, help="People in each integration."
)
@click.option(
    "--signins",
    type=int,
    default=60,
    show_default=True,
    help="Sign-ins in an integration in a day.",
)
@click.option(
    "--seed",
    type=int,
    default=1,
    show_default=True,
    help="Seed of the random sign-ins; the same seed makes the same sign-ins.",
)
@as_json
def events(count: int, users: int, signins: int, seed: int, as_json: bool) -> int:
    """Load days of sign-in events from an API and from files, and compare the results.

    Some events come twice, some late, and some lines are malformed. The API fails for one day:
    the steps that depend on it are skipped, the steps of the files are not. Then the day is
    repaired and loaded again. The exit status is 0 only if every row is right.
    """
    layout = DemoLayout(
        organizations=2, integrations=3, users=users, signins=signins, seed=seed, page_size=20
    )
    days = _before_today(count)
    failing = days[count // 2]
    settings = _beginning(load_settings(), days[0])
    token_path = token_file_of(settings)
    _clear(settings, token_path)
    # Each demo writes exports under a new name: known names would count as files loaded before.
    write_exports(settings.events_folder, exports(layout, days, export=secrets.token_hex(4)))
    refs = list(layout.worlds())
    with ProviderProcess(layout, token=token_in(token_path)) as provider:
        port = provider.port
        register(settings, provider.url, refs, token_path, signins=True)
        note(
            f"{provider.url} serves the sign-ins of {len(refs)} integrations; "
            f"files of {count} days are in {settings.events_folder}"
        )
        run_syncs(refs, settings, SyncCommand(new_sync_id(), streams=[USERS]))
        for ref in refs:
            provider.order_outage(ref, {failing: _REFUSED})
        first = run_days(days, settings)
        before = _held(settings, layout, days)
        if not as_json:
            _show("All days, while one day's API fails", first, settings)
            _show_failure(first, before)
            _show_letters(settings, days)
        for ref in refs:
            provider.order_outage(ref, {})
        failed = [day.day for day in first if not day.success]
        second = run_days(failed, settings)
        # Loading a day twice must not change it.
        again = run_days(days[-1:], settings)
        after = _held(settings, layout, days)
    if not as_json:
        click.echo()
        _show("The failed day, repaired and loaded again", second, settings)
    ended = [*second, *again]
    equal = (
        failed == [failing]
        and all(day.success for day in ended)
        and after.events.equal
        and after.letters == unusable(layout, days)
        and after.summaries > 0
    )
    if as_json:
        print_json(
            {
                "days": first,
                "missing_before_repair": len(before.events.missing),
                "repaired": second,
                "events": after.events.held,
                "dead_letters": after.letters,
                "equal": equal,
            }
        )
    else:
        _conclude(after, equal, failing, command_line(layout, port))
    return 0 if equal else 1


def _before_today(count: int) -> list[date]:
    today = datetime.now(UTC).date()
    return [today - timedelta(days=back) for back in range(count, 0, -1)]


def _beginning(settings: Settings, day: date) -> Settings:
    """Return the settings with a start at least a day before `day`: late events happened then."""
    return settings.model_copy(
        update={"events_start": min(settings.events_start, day - timedelta(days=1))}
    )


def _clear(settings: Settings, token_path: Path) -> None:
    """Delete the integrations, events and files of an earlier demo."""
    from elt_assets.signin_events.pipeline import EventPipeline

    with SyncService.open(settings) as platform:
        earlier = clear_earlier_demo(platform, token_path)
        with EventPipeline(platform) as pipeline:
            for ref in earlier:
                pipeline.forget(ref)
    for organization in {ref.organization_id for ref in earlier}:
        for file in settings.events_folder.glob(f"*/{organization}*.csv*"):
            file.unlink()


def _held(settings: Settings, layout: DemoLayout, days: Sequence[date]) -> Held:
    from elt_assets.signin_events.pipeline import EventPipeline

    demos = {ref.organization_id for ref in layout.worlds()}
    with SyncService.open(settings) as platform, EventPipeline(platform) as pipeline:
        rows = [
            row for row in pipeline.reports.events(limit=None) if row["organization_id"] in demos
        ]
        theirs = {day.isoformat() for day in days}
        letters = sum(letter["ingested_day"] in theirs for letter in pipeline.reports.rejected())
        return Held(
            events=compare_events(rows, signin_truth(layout, days)),
            letters=letters,
            summaries=len(pipeline.reports.summary()),
        )


def _show(title: str, runs: Sequence[DayRun], settings: Settings) -> None:
    from elt_assets.signin_events.pipeline import EventPipeline

    with SyncService.open(settings) as platform, EventPipeline(platform) as pipeline:
        found = {one.day: one for one in pipeline.reports.days()}
    rows = []
    for run in runs:
        day = found[run.day]
        rows.append(
            (
                run.day.isoformat(),
                day.extractions,
                day.files,
                day.fetched,
                day.rejected,
                day.events,
                "loaded" if run.success else "failed",
                ", ".join(run.failed) or None,
                ", ".join(run.skipped) or None,
            )
        )
    columns = ("integrations", "files", "fetched", "rejected", "events", "result")
    print_table(("day", *columns, "failed", "skipped"), rows, title=title)


def _show_failure(runs: Sequence[DayRun], held: Held) -> None:
    for run in runs:
        for asset, error in run.failed.items():
            click.echo(f"{run.day} {asset}: {shorten(error, _LONGEST_ERROR, placeholder=' …')}")
    missing = len(held.events.missing)
    click.echo(f"{missing:,} of {held.events.held:,} events are missing until the day is repaired.")


def _show_letters(settings: Settings, days: Sequence[date]) -> None:
    from elt_assets.signin_events.pipeline import EventPipeline

    theirs = {day.isoformat() for day in days}
    counted: Counter[str] = Counter()
    with SyncService.open(settings) as platform, EventPipeline(platform) as pipeline:
        for row in pipeline.reports.rejected_counts():
            if row["day"] in theirs:
                counted[row["reason"]] += row["count"]
    click.echo()
    title = "Unusable records"
    print_table(("reason", "dead letters"), sorted(counted.items()), title=title)


def _conclude(held: Held, equal: bool, day: date, provider_again: str) -> None:
    if not equal:
        note(f"The warehouse differs from API and files: {held.events}; see above.")
        return
    click.echo(
        f"All {held.events.held:,} events equal those of API and files, each once; "
        f"{held.letters:,} dead letters."
    )
    hints = {
        "events status": "show the result of each day",
        f"events list --day {day}": "show sign-ins, newest first",
        f"events summary --day {day}": "count sign-ins by organization",
        "events rejected list": "show unusable records and the reasons",
        "dev": "open Dagster's web UI",
    }
    width = max(map(len, hints))
    click.echo("Next steps:")
    for command, what in hints.items():
        click.echo(f"  {program()} {command:{width}}  {what}")
    click.echo(f"To load days again, start the provider again:\n  {provider_again}")
