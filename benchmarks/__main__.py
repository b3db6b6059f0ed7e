"""`python -m benchmarks NAME`: run one benchmark and write its results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from benchmarks.results import write

RESULTS = Path(__file__).parent / "results"

written_to = click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=RESULTS,
    show_default=True,
    help="Folder of the results.",
)


@click.group(context_settings={"max_content_width": 100})
def main() -> None:
    """Measure this machine; results are written as JSON and as a Markdown table."""


@main.command()
@click.option("--users", default=50_000, show_default=True, help="Users without latency.")
@click.option("--slow-users", default=40_000, show_default=True, help="Users with latency.")
@click.option("--page-size", default=500, show_default=True, help="Users a page.")
@click.option("--latency", default=50, show_default=True, help="Milliseconds of each answer.")
@click.option("--concurrency", default=8, show_default=True, help="Pages requested at once.")
@click.option("--repeat", default=3, show_default=True, help="Runs of each contender.")
@click.option("--only", multiple=True, help="Only these pagination types; may be repeated.")
@written_to
def extract(
    users: int,
    slow_users: int,
    page_size: int,
    latency: int,
    concurrency: int,
    repeat: int,
    only: tuple[str, ...],
    output: Path,
) -> None:
    """Users a second from an HTTP API to staged rows, compared with dlt.

    Example: python -m benchmarks extract --repeat 5
    """
    from benchmarks.extract.measure import Plan, measure
    from benchmarks.extract.report import table

    plan = Plan(users, slow_users, page_size, latency, concurrency, repeat, only)
    document = measure(plan, progress=_say)
    _write(output, document, table(document))


@main.command()
@click.option(
    "--integrations", default=300, show_default=True, help="Tenants that elt_assets syncs."
)
@click.option("--users", default=1_000, show_default=True, help="Users of each tenant.")
@click.option("--page-size", default=200, show_default=True, help="Users a page.")
@click.option(
    "--dagster-integrations",
    default=2,
    show_default=True,
    help="Tenants of Dagster's default way; 0 leaves it out.",
)
@click.option(
    "--dlt-integrations", default=20, show_default=True, help="Tenants of dlt; 0 leaves it out."
)
@click.option(
    "--loop-integrations",
    default=20,
    show_default=True,
    help="Tenants of the plain loop; 0 leaves it out.",
)
@click.option("--repeat", default=3, show_default=True, help="Runs of each contender.")
@written_to
def fleet(
    integrations: int,
    users: int,
    page_size: int,
    dagster_integrations: int,
    dlt_integrations: int,
    loop_integrations: int,
    repeat: int,
    output: Path,
) -> None:
    """Seconds per integration in a fleet of small tenants, compared with Dagster's default way, a
    dlt pipeline for each tenant, and a plain loop.

    Example: python -m benchmarks fleet --integrations 1000
    """
    from benchmarks.fleet.measure import Plan, measure
    from benchmarks.fleet.report import table

    plan = Plan(
        integrations,
        users,
        page_size,
        dagster_integrations,
        dlt_integrations,
        loop_integrations,
        repeat,
    )
    document = measure(plan, progress=_say)
    _write(output, document, table(document))


@main.command()
@click.option(
    "--integrations", default=150, show_default=True, help="Tenants that elt_assets syncs."
)
@click.option("--users", default=1_000, show_default=True, help="Users of each tenant.")
@click.option("--page-size", default=100, show_default=True, help="Users a page.")
@click.option(
    "--latency",
    "latencies",
    multiple=True,
    type=int,
    default=(0, 100, 300, 1_000),
    show_default=True,
    help="Milliseconds of each answer; may be repeated.",
)
@click.option(
    "--dlt-integrations", default=3, show_default=True, help="Tenants of dlt; 0 leaves it out."
)
@click.option(
    "--loop-integrations",
    default=3,
    show_default=True,
    help="Tenants of the plain loop; 0 leaves it out.",
)
@click.option(
    "--before",
    type=click.Path(path_type=Path, exists=True, file_okay=False, resolve_path=True),
    help="Another checkout (git worktree) to measure as well.",
)
@written_to
def latency(
    integrations: int,
    users: int,
    page_size: int,
    latencies: tuple[int, ...],
    dlt_integrations: int,
    loop_integrations: int,
    before: Path | None,
    output: Path,
) -> None:
    """Seconds per integration in a fleet whose providers answer slowly.

    Example: python -m benchmarks latency --latency 0 --latency 300
    """
    from benchmarks.latency.measure import Plan, measure
    from benchmarks.latency.report import table
    from elt_assets.config.settings import load_settings

    plan = Plan(
        integrations,
        users,
        page_size,
        latencies,
        dlt_integrations,
        loop_integrations,
        load_settings().fetches,
        None if before is None else str(before),
    )
    document = measure(plan, progress=_say)
    _write(output, document, table(document))


@main.command()
@click.option("--users", default=1_000_000, show_default=True, help="Users that elt_assets reads.")
@click.option("--dlt-users", default=200_000, show_default=True, help="Users that dlt reads.")
@click.option("--page-size", default=1_000, show_default=True, help="Users a page.")
@click.option("--repeat", default=2, show_default=True, help="Runs of each contender.")
@written_to
def large(users: int, dlt_users: int, page_size: int, repeat: int, output: Path) -> None:
    """Users a second of one large tenant, compared with dlt and a pipeline without safeguards.

    Example: python -m benchmarks large --users 200000
    """
    from benchmarks.large.measure import Plan, measure
    from benchmarks.large.report import table

    plan = Plan(users, dlt_users, page_size, repeat)
    document = measure(plan, progress=_say)
    _write(output, document, table(document))


@main.command()
@click.option("--users", default=1_000_000, show_default=True, help="Users.")
@click.option("--page-size", default=1_000, show_default=True, help="Users a page.")
@click.option("--repeat", default=2, show_default=True, help="Runs of each contender.")
@written_to
def feed(users: int, page_size: int, repeat: int, output: Path) -> None:
    """Seconds of a sync with and without the change feed, and the rate of an application's reads.

    Example: python -m benchmarks feed --users 100000
    """
    from benchmarks.feed.measure import Plan, measure
    from benchmarks.feed.report import table

    document = measure(Plan(users, page_size, repeat), progress=_say)
    _write(output, document, table(document))


@main.command()
@click.option(
    "--users",
    "sizes",
    multiple=True,
    type=int,
    default=(100_000, 1_000_000, 5_000_000),
    show_default=True,
    help="Users of the integration; may be repeated.",
)
@click.option("--page-size", default=1_000, show_default=True, help="Users a page.")
@written_to
def memory(sizes: tuple[int, ...], page_size: int, output: Path) -> None:
    """Peak memory of a sync by the size of the integration.

    Example: python -m benchmarks memory --users 10000 --users 100000
    """
    from benchmarks.memory.measure import measure
    from benchmarks.memory.report import table

    document = measure(sizes, page_size, progress=_say)
    _write(output, document, table(document))


@main.command()
@click.option("--integrations", default=100, show_default=True, help="Tenants.")
@click.option("--users", default=1_000, show_default=True, help="Users of each tenant.")
@click.option("--page-size", default=200, show_default=True, help="Users a page.")
@written_to
def profile(integrations: int, users: int, page_size: int, output: Path) -> None:
    """Where the time of a fleet's syncs goes, as a flame graph (SVG).

    Example: python -m benchmarks profile --integrations 20
    """
    from benchmarks.profile.flame import record

    target = output / "profile.svg"
    record(integrations, users, page_size, target)
    click.echo(target)


@main.command()
@click.option(
    "--integrations",
    "sizes",
    multiple=True,
    type=int,
    default=(100, 1_000, 10_000),
    show_default=True,
    help="Integrations of the fleet; may be repeated.",
)
@click.option("--days", default=30, show_default=True, help="Daily syncs in the ledger.")
@click.option("--repeat", default=3, show_default=True, help="Repetitions of all but syncs.")
@click.option(
    "--users", default=20, show_default=True, help="Users of each integration; 0 measures no sync."
)
@written_to
def scaling(sizes: tuple[int, ...], days: int, repeat: int, users: int, output: Path) -> None:
    """Seconds of schedule, sensors, report, partitions and syncs by the number of integrations.

    Example: python -m benchmarks scaling --integrations 1000
    """
    from benchmarks.scaling.measure import measure
    from benchmarks.scaling.report import table

    document = measure(sizes, days, repeat, users, progress=_say)
    _write(output, document, table(document))


@main.command()
@click.option("--gigabytes", default=0.05, show_default=True, help="Size of the CSV file.")
@click.option("--repeat", default=3, show_default=True, help="Runs of each contender.")
@click.option("--through/--load-only", default=True, help="Also measure elt_assets to the summary.")
@written_to
def events(gigabytes: float, repeat: int, through: bool, output: Path) -> None:
    """Rate and peak memory of loading a file of sign-in events, compared with DuckDB alone.

    Example: python -m benchmarks events --gigabytes 2 --load-only
    """
    from benchmarks.events.measure import Plan, measure
    from benchmarks.events.report import table

    plan = Plan(gigabytes, repeat, through)
    document = measure(plan, progress=_say)
    _write(output, document, table(document))


@main.command()
@click.option("--users", default=1_000_000, show_default=True, help="Users, all of them changed.")
@click.option("--repeat", default=3, show_default=True, help="Runs of each contender.")
@written_to
def postgres(users: int, repeat: int, output: Path) -> None:
    """Seconds of applying changes to PostgreSQL, compared with a bare COPY and upsert.

    Starts and stops a server of its own; PostgreSQL must be installed.

    Example: python -m benchmarks postgres --users 100000
    """
    from benchmarks.postgres.measure import Plan, measure
    from benchmarks.postgres.report import table

    document = measure(Plan(users, repeat), progress=_say)
    _write(output, document, table(document))


@main.command()
@click.option(
    "--integrations",
    "sizes",
    multiple=True,
    type=int,
    default=(0, 1_000, 10_000),
    show_default=True,
    help="Other integrations in the lake; may be repeated.",
)
@click.option("--users", default=1_000, show_default=True, help="Users of each synced integration.")
@written_to
def lake(sizes: tuple[int, ...], users: int, output: Path) -> None:
    """Seconds of a sync on a lake by the integrations that share it, and commits a second.

    Starts and stops a PostgreSQL of its own; it must be installed.

    Example: python -m benchmarks lake --integrations 1000
    """
    from benchmarks.lake.measure import measure
    from benchmarks.lake.report import table

    document = measure(sizes, users, progress=_say)
    _write(output, document, table(document))


@main.command()
@click.option("--integrations", default=400, show_default=True, help="Tenants.")
@click.option("--users", default=100, show_default=True, help="Users of each tenant.")
@click.option("--latency", default=50.0, show_default=True, help="Milliseconds of each answer.")
@click.option("--range-integrations", default=20, show_default=True, help="Tenants in one run.")
@click.option("--concurrency", default=1, show_default=True, help="Tenants at once in a run.")
@written_to
def workers(
    integrations: int,
    users: int,
    latency: float,
    range_integrations: int,
    concurrency: int,
    output: Path,
) -> None:
    """Seconds of a fleet's first sync by one worker, by two, and by two of which one is killed.

    Starts and stops a PostgreSQL and a Redis of its own; they must be installed.

    Example: python -m benchmarks workers --integrations 40
    """
    from benchmarks.workers.measure import Plan, measure
    from benchmarks.workers.report import table

    plan = Plan(integrations, users, latency, range_integrations, concurrency)
    document = measure(plan, progress=_say)
    _write(output, document, table(document))


@main.command()
@click.option(
    "--integrations",
    "sizes",
    multiple=True,
    type=int,
    default=(1_000, 10_000, 25_000, 100_000),
    show_default=True,
    help="Integrations of the fleet; may be repeated.",
)
@click.option("--hours", default=4.0, show_default=True, help="Hours in which all are synced.")
@click.option("--changed", default=0.5, show_default=True, help="Share that has changed.")
@click.option(
    "--waiting",
    default=1.0,
    show_default=True,
    help="Seconds that a provider takes for each integration.",
)
@click.option("--slots", default=8, show_default=True, help="Integrations at once in a worker.")
@click.option(
    "--events-a-second",
    default=130.0,
    show_default=True,
    help="Events that Dagster stores on PostgreSQL.",
)
@written_to
def capacity(
    sizes: tuple[int, ...],
    hours: float,
    changed: float,
    waiting: float,
    slots: int,
    events_a_second: float,
    output: Path,
) -> None:
    """Workers that a fleet needs, simulated from what `python -m benchmarks lake` has measured.

    Example: python -m benchmarks capacity --integrations 50000 --hours 2
    """
    from benchmarks.capacity.costs import measured
    from benchmarks.capacity.report import table

    try:
        costs = measured(output, events_a_second)
    except FileNotFoundError:
        raise click.UsageError(f"run `python -m benchmarks lake --output {output}` first") from None
    click.echo(table(sizes, costs, hours=hours, changed=changed, waiting=waiting, slots=slots))


def _say(line: str) -> None:
    click.echo(line, err=True)


def _write(output: Path, document: dict[str, Any], markdown: str) -> None:
    """Write the results under the benchmark's name, and say where."""
    for path in write(output, document["benchmark"], document, markdown):
        click.echo(path)


if __name__ == "__main__":
    main()
