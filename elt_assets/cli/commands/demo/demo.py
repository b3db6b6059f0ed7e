"""`elt-assets demo`: sync from the embedded provider in rounds, and compare with what it holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click
import msgspec

from elt_assets.cli.commands.demo.chaos_sync import attempt, describe, sync_through_faults
from elt_assets.cli.commands.demo.comparison import KeyComparison, compare, compare_stream
from elt_assets.cli.commands.demo.heard import heard_since, show_heard
from elt_assets.cli.commands.demo.provider import (
    command_line,
    token_file_of,
    token_in,
    world_options,
)
from elt_assets.cli.commands.demo.registered_demo import clear_earlier_demo, register
from elt_assets.cli.commands.demo.signin_demo import events
from elt_assets.cli.commands.sync import new_sync_id, status_of
from elt_assets.cli.console.output import as_json, note, print_json, print_table, program
from elt_assets.cli.foreground import run_syncs
from elt_assets.client.sync_command import SyncCommand
from elt_assets.config.settings import Settings, load_settings
from elt_assets.demo.layout import DemoLayout
from elt_assets.demo.process import ProviderProcess
from elt_assets.feed.numbering import number_entries
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.outcome import Outcome
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import GROUP_MEMBERSHIPS, GROUPS, USERS


@dataclass(frozen=True, slots=True)
class Round:
    """One sync of all integrations, and the comparison of each result."""

    number: int
    outcomes: Sequence[Outcome]
    comparisons: dict[tuple[str, str], KeyComparison]
    """By partition and stream."""

    @property
    def equal(self) -> bool:
        """Whether every integration was synced and holds what the provider holds."""
        return all(comparison.equal for comparison in self.comparisons.values())

    def as_json(self) -> dict[str, Any]:
        """The documented shape of one entry of `rounds`."""
        return {
            "round": self.number,
            "sync": [outcome.as_json() for outcome in self.outcomes],
            "truth": {
                partition: found.held
                for (partition, stream), found in self.comparisons.items()
                if stream == USERS.name
            },
            "equal": self.equal,
        }


@click.group(
    invoke_without_command=True, epilog="Example: elt-assets demo --integrations 20 --rounds 3"
)
@world_options
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="Number of syncs; people change, leave and join between them.",
)
@click.option(
    "--chaos",
    is_flag=True,
    help="Fail on purpose: 2% of pages, 40% of committed writes, 5% of processes after batch 5.",
)
@click.option("--groups", is_flag=True, help="Also sync departments as groups, with their members.")
@as_json
@click.pass_context
def demo(
    context: click.Context,
    /,
    rounds: int,
    chaos: bool,
    groups: bool,
    as_json: bool,
    **layout_options: Any,
) -> int:
    """Sync demo organizations from an embedded provider and compare the results with it.

    Starts a real HTTP server with generated people, registers its integrations, and syncs them
    all through Dagster. The exit status is 0 only if every result equals what the provider holds.
    """
    if context.invoked_subcommand:
        return 0
    layout = DemoLayout(**layout_options)
    settings = load_settings()
    token_path = token_file_of(settings)
    with SyncService.open(settings) as platform:
        clear_earlier_demo(platform, token_path)
        begun = number_entries(platform.database).head
    done: list[Round] = []
    survived: Counter[str] = Counter()
    status = 0
    with ProviderProcess(layout, token=token_in(token_path)) as provider:
        port = provider.port
        refs = list(layout.worlds())
        register(settings, provider.url, refs, token_path, groups=groups)
        note(
            f"{provider.url} serves {len(refs):,} integrations of {layout.users:,} people each; "
            f"{rounds:,} rounds"
        )
        for number in range(1, rounds + 1):
            if number > 1:
                provider.advance()
            sync_id = new_sync_id()
            if chaos:
                survived += sync_through_faults(refs, sync_id)
            # After chaos this only reports the recorded results.
            outcomes = run_syncs(refs, settings, SyncCommand(sync_id))
            done.append(_compared(number, outcomes, settings, provider, refs, groups))
            if not as_json:
                _show(done[-1])
            status = max(status, status_of(outcomes, sync_id))
    equal = all(round_.equal for round_ in done)
    with SyncService.open(settings) as platform:
        heard = heard_since(platform.database, begun)
    if as_json:
        print_json(
            {
                "rounds": [round_.as_json() for round_ in done],
                "equal": equal,
                "sync": done[-1].as_json()["sync"],
                "heard": {one.type: one.entries for one in heard},
                **({"survived": dict(survived)} if chaos else {}),
            }
        )
    else:
        if chaos:
            click.echo(describe(survived))
        show_heard(heard)
        _conclude(equal, refs, command_line(msgspec.structs.replace(layout, round=rounds), port))
    return status if equal else 1


demo.add_command(events)
demo.add_command(attempt)


def _compared(
    number: int,
    outcomes: Sequence[Outcome],
    settings: Settings,
    provider: ProviderProcess,
    refs: Sequence[IntegrationRef],
    groups: bool,
) -> Round:
    with SyncService.open(settings) as platform:
        comparisons = {
            (ref.partition_key, USERS.name): compare(
                platform.records(USERS, ref), provider.truth(ref)
            )
            for ref in refs
        }
        for ref in refs if groups else ():
            truth = provider.truth_of_groups(ref)
            for stream in (GROUPS, GROUP_MEMBERSHIPS):
                comparisons[ref.partition_key, stream.name] = compare_stream(
                    stream, platform.records(stream, ref), truth[stream.name]
                )
    return Round(number, outcomes, comparisons)


def _show(done: Round) -> None:
    what = "first sync" if done.number == 1 else "after people changed, left and joined"
    # The column is shown only if streams other than users were synced.
    streams = {outcome.stream for outcome in done.outcomes} != {USERS.name}
    print_table(
        (
            "integration",
            *(["stream"] if streams else []),
            "staged",
            "inserted",
            "updated",
            "deleted",
            "latest",
            "provider holds",
            "equal",
        ),
        [
            (
                outcome.partition,
                *([outcome.stream] if streams else []),
                outcome.counts.staged,
                outcome.counts.inserts,
                outcome.counts.updates,
                outcome.counts.deletes,
                outcome.counts.latest,
                done.comparisons[outcome.partition, outcome.stream].held,
                done.comparisons[outcome.partition, outcome.stream].equal,
            )
            for outcome in done.outcomes
        ],
        title=f"Round {done.number}: {what}",
    )
    for (partition, stream), found in done.comparisons.items():
        if not found.equal:
            named = partition if stream == USERS.name else f"{partition} {stream}"
            note(f"{named} differs from the provider: {found}")


def _conclude(equal: bool, refs: Sequence[IntegrationRef], provider_again: str) -> None:
    if not equal:
        note("Some results differ from what the provider holds; see above.")
        return
    click.echo("Every result equals what the provider holds.")
    if not refs:
        return
    elt_assets, first = program(), refs[0]
    click.echo(
        "Next steps:\n"
        f"  {elt_assets} users {first}      show the users as applications read them\n"
        f"  {elt_assets} changes {first}    show what was inserted, updated and deleted\n"
        f"  {elt_assets} dev                             open Dagster's web UI\n"
        "To sync again, start the provider again in its present state:\n"
        f"  {provider_again}"
    )
