"""The command that runs campaigns and prints figures: `python -m elt_assets_tests.campaign`.

It names the campaigns, sets their size, stores their figures and sets the exit status.
"""

from __future__ import annotations

import logging
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click

from elt_assets.config.settings import load_settings
from elt_assets_tests.campaign.chaos.campaign import campaign as chaos_campaign
from elt_assets_tests.campaign.chaos.campaign import never_often_enough
from elt_assets_tests.campaign.concurrency.campaign import concurrency_campaign, missing_operations
from elt_assets_tests.campaign.crash.campaign import crash_campaign, missing_boundaries
from elt_assets_tests.campaign.feed.campaign import VICTIMS, feed_campaign
from elt_assets_tests.campaign.figures import Figures
from elt_assets_tests.campaign.hostile.neighbours import hostile_campaign
from elt_assets_tests.campaign.hostile.sinks import sinks_campaign
from elt_assets_tests.campaign.liar.campaign import liar_campaign
from elt_assets_tests.campaign.liar.campaign import never_often_enough as never_told_often_enough


def crash(folder: Path, seed: int, scale: float) -> Figures:
    """Deaths of workers and losses of power."""
    # A loss of power is played on files; a server has its own.
    on_file = load_settings().operational_url is None
    losses = max(1, int(20 * scale)) if on_file else 0
    figures = crash_campaign(folder, max(1, int(300 * scale)), power_losses=losses, seed=seed)
    figures.missing = missing_boundaries(figures)
    return figures


def concurrency(folder: Path, seed: int, scale: float) -> Figures:
    """Processes that share integrations."""
    figures = concurrency_campaign(folder, max(1, int(30 * scale)), seed=seed)
    figures.missing = missing_operations(figures)
    return figures


def chaos(folder: Path, seed: int, scale: float) -> Figures:
    """Providers that misbehave in every way that has a name."""
    figures = chaos_campaign(max(1, int(1_000 * scale)), seed=seed)
    figures.missing = sorted(never_often_enough(figures, least=max(1, int(scale))))
    return figures


def hostile(folder: Path, seed: int, scale: float) -> Figures:
    """Tenants that attack their neighbours, and everybody who reads what they write."""
    figures = hostile_campaign(folder / "neighbours", max(1, int(scale)))
    texts = sinks_campaign(folder / "sinks")
    figures.add(texts)
    figures.missing += texts.missing
    return figures


def feed(folder: Path, seed: int, scale: float) -> Figures:
    """Deaths of everything around the change feed."""
    figures = feed_campaign(folder / "feed", max(1, int(300 * scale)), seed)
    met = {name.partition(",")[0] for name in figures.fired}
    figures.missing = sorted(set(VICTIMS) - met)
    return figures


def liar(_folder: Path, seed: int, scale: float) -> Figures:
    """Providers that lie in every claim, in memory."""
    figures = liar_campaign(max(1_000, int(1_000_000 * scale)), seed)
    figures.missing = sorted(never_told_often_enough(figures, least=max(1, int(2_500 * scale))))
    return figures


CAMPAIGNS: dict[str, Callable[[Path, int, float], Figures]] = {
    "chaos": chaos,
    "crash": crash,
    "concurrency": concurrency,
    "feed": feed,
    "hostile": hostile,
    "liar": liar,
}


@click.command()
@click.argument("names", nargs=-1, type=click.Choice([*CAMPAIGNS]))
@click.option("--scale", default=1.0, show_default=True, help="1 is what CI runs.")
@click.option("--seed", default=0, show_default=True, help="The same seed is the same campaign.")
@click.option(
    "--note",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A document whose figures are replaced, between <!-- figures: NAME --> marks.",
)
def main(names: tuple[str, ...], scale: float, seed: int, note: Path | None) -> None:
    """Run campaigns (all, if none is named) and print their figures.

    Example: python -m elt_assets_tests.campaign crash --scale 10 --note docs/reliability.md
    """
    logging.disable(logging.CRITICAL)
    broken = False
    for name in names or CAMPAIGNS:
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            figures = CAMPAIGNS[name](Path(folder), seed, scale)
        if scale < 1:
            # Too small to meet every accident.
            figures.missing = []
        title = f"scale {scale:g}, seed {seed}, {time.perf_counter() - started:,.0f} seconds"
        text = "\n".join([f"{figures.name}: {title}", *figures.lines()[1:]])
        click.echo(text)
        broken = broken or bool(figures.violations or figures.missing)
        if note is not None:
            note.write_text(with_figures(note.read_text("utf-8"), name, text), "utf-8")
    sys.exit(1 if broken else 0)


def with_figures(document: str, name: str, figures: str) -> str:
    """The document with what stands between the marks of `name` replaced."""
    begin, end = f"<!-- figures: {name} -->", "<!-- end of figures -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(document):
        raise click.ClickException(f"the document has no {begin} … {end}")
    block = f"{begin}\n```text\n{figures}\n```\n{end}"
    return pattern.sub(lambda _: block, document)


if __name__ == "__main__":
    main()
