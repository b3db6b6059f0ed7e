"""The command that runs campaigns and prints their figures: `python -m elt_assets_tests.campaign`.

Belongs here: which campaigns there are, their size and the exit status. Does not: any
campaign.
"""

from __future__ import annotations

import logging
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import click

from elt_assets_tests.campaign.crash.campaign import CrashCampaign, missing_boundaries
from elt_assets_tests.campaign.figures import Figures


def crash(folder: Path, seed: int, scale: float) -> Figures:
    """Deaths of workers and losses of power."""
    figures = CrashCampaign(folder, seed).run(
        kills=max(1, int(300 * scale)), power_losses=max(1, int(20 * scale))
    )
    if scale >= 1:
        figures.missing = missing_boundaries(figures)
    return figures


CAMPAIGNS: dict[str, Callable[[Path, int, float], Figures]] = {"crash": crash}


@click.command()
@click.argument("names", nargs=-1, type=click.Choice([*CAMPAIGNS]))
@click.option("--scale", default=1.0, show_default=True, help="1 is what CI runs.")
@click.option("--seed", default=0, show_default=True, help="The same seed is the same campaign.")
def main(names: tuple[str, ...], scale: float, seed: int) -> None:
    """Run campaigns (all, if none is named) and print their figures.

    Example: python -m elt_assets_tests.campaign crash --scale 10
    """
    logging.disable(logging.CRITICAL)
    broken = False
    for name in names or CAMPAIGNS:
        with tempfile.TemporaryDirectory() as folder:
            figures = CAMPAIGNS[name](Path(folder), seed, scale)
        click.echo("\n".join(figures.lines()))
        broken = broken or bool(figures.violations or figures.missing)
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
