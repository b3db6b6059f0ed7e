"""What one sync costs each part of a distributed installation.

The costs are read from the results of the other benchmarks. The module also defines the fleets for
which capacity is computed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EVENTS_OF_AN_INTEGRATION = 6
"""For each of three tables, one event when the run is planned and one when it is materialized."""

CATALOG_PROCESSORS = 4
"""Processors of the server that has the lake's catalog."""


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds that one sync takes of a worker's processor, and of each part that all syncs share.

    Commits to the lake are made one after the other, and so are Dagster's events. Reading the
    catalog takes a processor of the catalog's server: `reading` for a changed sync, and
    `reading_each` more for every integration in the lake.
    """

    changed: float
    unchanged: float
    commit: float
    event: float
    reading: float = 0.0
    reading_each: float = 0.0
    commits_of_a_change: int = 2
    """Commits of a sync with changes; an unchanged sync commits nothing to the lake."""

    def worker(self, changed: bool) -> float:
        """Seconds of a worker's processor for one sync."""
        return self.changed if changed else self.unchanged

    def catalog(self, changed: bool) -> float:
        """Seconds for which the lake's catalog commits nothing else."""
        return self.commit * self.commits_of_a_change if changed else 0.0

    def server(self, changed: bool, integrations: int) -> float:
        """Seconds of a processor of the catalog's server."""
        return self.reading + self.reading_each * integrations if changed else 0.0

    @property
    def instance(self) -> float:
        """Seconds of Dagster's event log."""
        return self.event * EVENTS_OF_AN_INTEGRATION


@dataclass(frozen=True, slots=True)
class Fleet:
    """Integrations to be synced once, the share that has changed, and seconds of each provider."""

    integrations: int
    changed: float
    waiting: float
    catalog_processors: int = CATALOG_PROCESSORS


def measured(results: Path, events_a_second: float) -> Costs:
    """Costs from `lake.json` in the folder of results. Raises FileNotFoundError without it."""
    document: dict[str, Any] = json.loads((results / "lake.json").read_text(encoding="utf-8"))
    syncs = document["syncs"]
    first, last = syncs[0], syncs[-1]
    rate = max(one["commits_a_second"] for one in document["commits"])
    grown = last["integrations"] - first["integrations"]
    return Costs(
        changed=last["changed"]["processor"],
        unchanged=last["unchanged"]["processor"],
        commit=1 / rate,
        event=1 / events_a_second,
        reading=_elsewhere(first),
        reading_each=(_elsewhere(last) - _elsewhere(first)) / grown if grown else 0.0,
    )


def _elsewhere(sync: dict[str, Any]) -> float:
    """Seconds that a changed sync waits for the catalog's server while nothing else runs."""
    return float(sync["changed"]["seconds"] - sync["changed"]["processor"])
