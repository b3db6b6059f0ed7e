"""`elt-assets demo events`: load days of sign-ins from two sources; one fails and is repaired."""

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

from elt_assets.cli.commands.demo.comparison import Comparison, compare_events
from elt_assets.cli.commands.demo.provider import command_line, token_file_of, token_in
from elt_assets.cli.commands.demo.registered_demo import clear_earlier_demo, register
from elt_assets.cli.commands.sync import new_sync_id
from elt_assets.cli.console.output import as_json, note, print_json, print_table, program
from elt_assets.cli.signin_run import run as run_days
from elt_assets.cli.sync_run import run as sync
from elt_assets.config.settings import Settings, load_settings
from elt_assets.demo.layout import Layout
from elt_assets.demo.process import ProviderProcess
from elt_assets.demo.signin_files import exports, signin_truth, unusable, write_exports
from elt_assets.sync.service import Platform
from elt_assets.sync.streams import USERS

if TYPE_CHECKING:
    from elt_assets.client.in_process_days import DayRun

_REFUSED = 403
"""An answer that stays: no attempt of the step changes anything until a person does."""
_FEWEST_DAYS = 3
_LONGEST_ERROR = 200


class Held(msgspec.Struct, frozen=True):
    """What stands in the warehouse, compared with what the provider and its files tell of."""

    events: Comparison
    letters: int
    summaries: int


@click.command(epilog="Example: elt-assets demo events --days 5")
@click.option(
    "--days",
    "count",
    type=click.IntRange(min=_FEWEST_DAYS, max=365),
    default=14,
    show_default=True,
    help="Days before today.",
)
@click.option("--users", type=int, default=50, show_default=True, help="People of an integration.")
@click.option(
    "--signins", type=int, default=60, show_default=True, help="Sign-ins of an integration a day."
)
@click.option(
    "--seed", type=int, default=1, show_default=True, help="The same seed makes the same sign-ins."
)
@as_json
def events(count: int, users: int, signins: int, seed: int, as_json: bool) -> int:
    """Load days of sign-in events from an API and from files, and compare with what they tell.

    Some events are told twice, some late, some lines are of no use, and one day's API fails:
    what follows from it is skipped, the files' branch is not. Then that day is repaired, and
    it alone is loaded again. Exit status 0 only if every row is as it should be.
    """
    layout = Layout(
        organizations=2, integrations=3, users=users, signins=signins, seed=seed, page_size=20
    )
    days = _before_today(count)
    failing = days[count // 2]
    settings = _beginning(load_settings(), days[0])
    token_path = token_file_of(settings)
    _clear(settings, token_path)
    # Of another demo's files these are new exports, not the same ones, which would be recognised.
    write_exports(settings.events_folder, exports(layout, days, export=secrets.token_hex(4)))
    refs = list(layout.worlds())
    with ProviderProcess(layout, token=token_in(token_path)) as provider:
        port = provider.port
        register(settings, provider.url, refs, token_path, signins=True)
        note(
            f"{provider.url} serves the sign-ins of {len(refs)} integrations; "
            f"files of {count} days are in {settings.events_folder}"
        )
        sync(refs, settings, new_sync_id(), streams=[USERS])
        for ref in refs:
            provider.order_outage(ref, {failing: _REFUSED})
        first = run_days(days, settings)
        before = _held(settings, layout, days)
        if not as_json:
            _show("All days, while one day's API fails", first, settings)
            _tell_failure(first, before)
            _show_letters(settings, days)
        for ref in refs:
            provider.order_outage(ref, {})
        failed = [day.day for day in first if not day.success]
        second = run_days(failed, settings)
        # A day that is loaded twice must be as it was.
        again = run_days(days[-1:], settings)
        after = _held(settings, layout, days)
    if not as_json:
        click.echo()
        _show("What failed, repaired and loaded again", second, settings)
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
    """The settings, with days from one before `day`, on which late events happened."""
    return settings.model_copy(
        update={"events_start": min(settings.events_start, day - timedelta(days=1))}
    )


def _clear(settings: Settings, token_path: Path) -> None:
    """Leave nothing of an earlier demo: integrations, events, files."""
    from elt_assets.signin_events.pipeline import EventPipeline

    with Platform.open(settings) as platform:
        earlier = clear_earlier_demo(platform, token_path)
        with EventPipeline(platform) as pipeline:
            for ref in earlier:
                pipeline.forget(ref)
    for organization in {ref.organization_id for ref in earlier}:
        for file in settings.events_folder.glob(f"*/{organization}*.csv*"):
            file.unlink()


def _held(settings: Settings, layout: Layout, days: Sequence[date]) -> Held:
    from elt_assets.signin_events.pipeline import EventPipeline

    demos = {ref.organization_id for ref in layout.worlds()}
    with Platform.open(settings) as platform, EventPipeline(platform) as pipeline:
        rows = [row for row in pipeline.events(limit=None) if row["organization_id"] in demos]
        theirs = {day.isoformat() for day in days}
        letters = sum(letter["ingested_day"] in theirs for letter in pipeline.rejected())
        return Held(
            events=compare_events(rows, signin_truth(layout, days)),
            letters=letters,
            summaries=len(pipeline.summary()),
        )


def _show(title: str, runs: Sequence[DayRun], settings: Settings) -> None:
    from elt_assets.signin_events.pipeline import EventPipeline

    with Platform.open(settings) as platform, EventPipeline(platform) as pipeline:
        found = {one.day: one for one in pipeline.days()}
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


def _tell_failure(runs: Sequence[DayRun], held: Held) -> None:
    for run in runs:
        for asset, error in run.failed.items():
            click.echo(f"{run.day} {asset}: {shorten(error, _LONGEST_ERROR, placeholder=' …')}")
    missing = len(held.events.missing)
    click.echo(f"{missing:,} of {held.events.held:,} events are missing until it is repaired.")


def _show_letters(settings: Settings, days: Sequence[date]) -> None:
    from elt_assets.signin_events.pipeline import EventPipeline

    theirs = {day.isoformat() for day in days}
    counted: Counter[str] = Counter()
    with Platform.open(settings) as platform, EventPipeline(platform) as pipeline:
        for row in pipeline.rejected_counts():
            if row["day"] in theirs:
                counted[row["reason"]] += row["count"]
    click.echo()
    title = "Records that nobody can use"
    print_table(("reason", "dead letters"), sorted(counted.items()), title=title)


def _conclude(held: Held, equal: bool, day: date, provider_again: str) -> None:
    if not equal:
        note(f"The warehouse does not hold what it should: {held.events}; see above.")
        return
    click.echo(
        f"All {held.events.held:,} events are as API and files tell them, each once; "
        f"{held.letters:,} dead letters."
    )
    hints = {
        "events status": "what came of each day",
        f"events list --day {day}": "sign-ins, newest first",
        f"events summary --day {day}": "the same by organization",
        "events rejected list": "what could not be used, and why",
        "dev": "the graph and its days in the web UI",
    }
    width = max(map(len, hints))
    click.echo("What to look at next:")
    for command, what in hints.items():
        click.echo(f"  {program()} {command:{width}}  {what}")
    click.echo(f"To load days again from there, bring the provider back:\n  {provider_again}")
