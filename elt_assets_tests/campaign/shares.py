"""Shares: run a campaign in as many processes as there are cores and add up the results.

How a campaign is divided must not depend on the machine, or the same seed would not be the same
campaign. So each campaign divides itself.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from elt_assets_tests.campaign.figures import Figures

T = TypeVar("T")

PRELOADED = (
    "pyarrow",
    "adbc_driver_sqlite",
    "elt_assets.connectors.rest.rest_opening",
    "elt_assets.storage.operational.migrations",
    "elt_assets.sync.apply.compensation",
    "elt_assets.sync.apply.rebuild",
    "elt_assets.sync.engine",
    "elt_assets_tests.campaign.preloaded",
)
"""What a process that forks others has imported, so that they need not.

The platform imports most of these when it first needs them, which is in every fork.
"""


def in_shares(
    name: str, run: Callable[[T], Figures], shares: Sequence[T], processes: int | None = None
) -> Figures:
    """What all shares found together. `run` must be importable by name."""
    workers = min(processes or os.cpu_count() or 1, len(shares))
    if workers <= 1:
        parts = [run(share) for share in shares]
    else:
        # A fresh interpreter each: forking one that has threads and open databases is not safe.
        with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
            parts = list(pool.map(run, shares))
    figures = Figures(name)
    for part in parts:
        figures.add(part)
    return figures
