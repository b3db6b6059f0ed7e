"""The command that mutates the modules that judge: `python -m elt_assets_tests.mutation`.

mutmut and cosmic-ray do not mutate SQL, in which half of these decisions are made, and cosmic-ray
starts an interpreter for each mutant, which costs 4 seconds of imports here.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from elt_assets_tests.mutation.equivalent import EQUIVALENT
from elt_assets_tests.mutation.mutants import Mutant, mutants
from elt_assets_tests.mutation.running import Target, measured, preload, survivors

ROOT = Path(__file__).parents[2]
MODULES = (
    "elt_assets/sync/extract/certificate.py",
    "elt_assets/sync/detect/delete_guard.py",
    "elt_assets/sync/detect/delete_confirmation.py",
    "elt_assets/sync/detect/change_detection.py",
)
"""The modules that decide whether a change may harm somebody."""


def target(module: str, root: Path = ROOT) -> Target:
    """A module and its own test file, which has the same place in the tree of tests."""
    path = root / module
    package, *folders, name = Path(module).with_suffix("").parts
    tests = root.joinpath(f"{package}_tests", *folders, f"test_{name}.py")
    return Target(".".join([package, *folders, name]), path, tests)


def complaints(
    alive: Sequence[Mutant], made: Sequence[Mutant], known: Mapping[tuple[str, str, str, int], str]
) -> list[str]:
    """What is wrong: a survivor without a reason, or a reason without a survivor."""
    names = {mutant.name for mutant in alive}
    unexplained = [
        f"line {one.number}: {one.before} → {one.after} survives in: {one.line}"
        for one in alive
        if one.name not in known
    ]
    stale = [
        f"{name} is listed as equivalent and "
        + ("is noticed by a test" if name in {one.name for one in made} else "fits no mutant")
        for name in known
        if name not in names
    ]
    return unexplained + stale


@click.command()
@click.argument("modules", nargs=-1, type=click.Choice(MODULES))
@click.option("--workers", default=os.cpu_count() or 1, show_default=True)
def main(modules: tuple[str, ...], workers: int) -> None:
    """Mutate modules (all that judge, if none is named); exit 1 if a mutant survives unexplained.

    Example: python -m elt_assets_tests.mutation elt_assets/sync/detect/delete_guard.py
    """
    os.chdir(ROOT)
    wrong = 0
    chosen = [target(module) for module in modules or MODULES]
    for one in chosen:
        preload(one, ROOT)
    for module, one in zip(modules or MODULES, chosen, strict=True):
        started = time.perf_counter()
        made = mutants(one.path.read_text("utf-8"))
        alive = survivors(one, made, measured(one), workers)
        known = EQUIVALENT.get(module, {})
        found = complaints(alive, made, known)
        seconds = time.perf_counter() - started
        click.echo(
            f"{module}: {len(made)} mutants, {len(made) - len(alive)} noticed, "
            f"{len(known)} equivalent, {len(found)} wrong, {seconds:.0f} seconds"
        )
        for line in found:
            click.echo(f"  {line}")
        wrong += len(found)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
