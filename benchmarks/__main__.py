"""`python -m benchmarks NAME`: run one benchmark and write what it found.

Belongs here: the command line. Does not: measuring (a package for each benchmark).
"""

from __future__ import annotations

from pathlib import Path

import click

RESULTS = Path(__file__).parent / "results"


@click.group(context_settings={"max_content_width": 100})
def main() -> None:
    """Measure this machine; results are written as JSON and as a Markdown table."""


@main.command()
@click.option("--users", default=50_000, show_default=True, help="Users without latency.")
@click.option("--slow-users", default=40_000, show_default=True, help="Users with latency.")
@click.option("--page-size", default=500, show_default=True, help="Users a page.")
@click.option("--latency", default=50, show_default=True, help="Milliseconds of each answer.")
@click.option("--concurrency", default=8, show_default=True, help="Pages on their way at once.")
@click.option("--repeat", default=3, show_default=True, help="Runs of each contender.")
@click.option("--only", multiple=True, help="Only these pagination types; may be repeated.")
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
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
    """Users a second from an HTTP API to staged rows, beside dlt.

    Example: python -m benchmarks extract --repeat 5
    """
    from benchmarks.extract.measure import Plan, measure
    from benchmarks.extract.report import table
    from benchmarks.results import write

    plan = Plan(users, slow_users, page_size, latency, concurrency, repeat, only)
    document = measure(plan, progress=lambda line: click.echo(line, err=True))
    for path in write(output, "extract", document, table(document)):
        click.echo(path)


@main.command()
@click.option("--integrations", default=300, show_default=True, help="Tenants of ours.")
@click.option("--users", default=1_000, show_default=True, help="Users of each tenant.")
@click.option("--page-size", default=200, show_default=True, help="Users a page.")
@click.option("--dagster-integrations", default=2, show_default=True, help="0 leaves it out.")
@click.option("--dlt-integrations", default=20, show_default=True, help="0 leaves it out.")
@click.option("--loop-integrations", default=20, show_default=True, help="0 leaves it out.")
@click.option("--repeat", default=3, show_default=True, help="Runs of each contender.")
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
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
    """Seconds an integration in a fleet of small tenants, beside Dagster's default way, dlt
    for each tenant and a plain loop.

    Example: python -m benchmarks fleet --integrations 1000
    """
    from benchmarks.fleet.measure import Plan, measure
    from benchmarks.fleet.report import table
    from benchmarks.results import write

    plan = Plan(
        integrations,
        users,
        page_size,
        dagster_integrations,
        dlt_integrations,
        loop_integrations,
        repeat,
    )
    document = measure(plan, progress=lambda line: click.echo(line, err=True))
    for path in write(output, "fleet", document, table(document)):
        click.echo(path)


if __name__ == "__main__":
    main()
