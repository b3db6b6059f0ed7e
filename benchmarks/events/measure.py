"""The comparison: one generated file, contenders in turn, rates and peak memory.

Elapsed time is a fair measure only while no other process competes for the processors. So every run
also records the processor time that other processes used, and the report shows it next to the
elapsed time.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.contender import run
from benchmarks.events.contenders import write_file
from benchmarks.events.neighbours import Neighbours
from benchmarks.machine import machine
from benchmarks.results import summary

CONTENDERS = ("elt_assets", "duckdb_alone", "duckdb_copy", "duckdb_held")
BARE = ("duckdb_alone", "duckdb_copy")
"""Ordinary ways to load a file as fast as possible; ours is compared with the faster one."""
PACKAGES = ("elt-assets", "duckdb", "pyarrow")


@dataclass(frozen=True, slots=True)
class Plan:
    """The size of the file, and whether elt_assets is also measured up to the summary."""

    gigabytes: float
    repeat: int
    through: bool


def measure(plan: Plan, progress: Callable[[str], None]) -> dict[str, Any]:
    """The whole result as a JSON document."""
    facts = machine(PACKAGES)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        file = Path(folder) / "events.csv"
        rows, size = write_file(plan.gigabytes, file), file.stat().st_size
        answers: dict[str, list[dict[str, Any]]] = {name: [] for name in CONTENDERS}
        for repetition in range(plan.repeat):
            # The contenders take turns, every other time in reverse: a slow minute hits all alike.
            for name in CONTENDERS[:: 1 if repetition % 2 == 0 else -1]:
                answer = _run(name, file, rows, Path(folder), through=False)
                answers[name].append(answer)
                progress(f"{name}: {_line(answer, size)}")
        through = None
        if plan.through:
            through = _run("elt_assets", file, rows, Path(folder), through=True)
            progress(f"to the summary: {through['seconds']}, {through['peak_mib']} MiB")
    figures = {name: _figure(rows, size, found) for name, found in answers.items()}
    return {
        "benchmark": "events",
        "plan": asdict(plan),
        "machine": facts,
        "file": {"rows": rows, "bytes": size},
        "contenders": figures,
        "rate_share": {clock: rate_share(answers, clock) for clock in ("seconds", "cpu")},
        "through": through,
    }


def rate_share(answers: Mapping[str, Sequence[Mapping[str, Any]]], clock: str) -> dict[str, float]:
    """Return our rate as a share of DuckDB's own rate, by the fastest run of each contender.

    `fastest` compares with the faster of the bare contenders. `paired` is the median over all
    repetitions of the share within one: a minute that was slow for all changes it little.
    """
    taken = {name: [run[clock]["loaded"] for run in runs] for name, runs in answers.items()}
    ours = taken["elt_assets"]
    best = {name: min(taken[name]) / min(ours) for name in BARE}
    each = [
        min(bare) / own for *bare, own in zip(*(taken[name] for name in BARE), ours, strict=True)
    ]
    shares = {"fastest": min(best.values()), **best, "paired": median(each)}
    return {name: round(share, 2) for name, share in shares.items()}


def _run(name: str, file: Path, rows: int, folder: Path, *, through: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=folder) as own:
        arguments = {"file": str(file), "through": through}
        # Flush the disk first, so that no contender waits for writes of the one before.
        os.sync()
        neighbours = Neighbours()
        answer = run(f"benchmarks.events.contenders:{name}", arguments, Path(own))
        others = neighbours.share()
    if answer["rows"] != rows:
        raise RuntimeError(f"{name} loaded {answer['rows']:,} of {rows:,} events")
    # Measuring a step resets the peak of the steps before.
    by_step = (peak for peak in answer.get("peaks", {}).values() if peak is not None)
    return answer | {"peak_mib": max([answer["peak_mib"], *by_step]), "others": others}


def _figure(rows: int, size: int, answers: list[dict[str, Any]]) -> dict[str, Any]:
    seconds, cpu = (
        summary(answer[clock]["loaded"] for answer in answers) for clock in ("seconds", "cpu")
    )
    return {
        "seconds": seconds,
        "cpu": cpu,
        "rows_a_second": round(rows / seconds["minimum"]),
        "mib_a_second": round(size / 2**20 / seconds["minimum"], 1),
        "peak_mib": max(answer["peak_mib"] for answer in answers),
        "others": [answer["others"] for answer in answers],
    }


def _line(answer: dict[str, Any], size: int) -> str:
    seconds, cpu = answer["seconds"]["loaded"], answer["cpu"]["loaded"]
    rate, others = size / 2**20 / seconds, answer["others"]
    beside = "" if others is None else f", others took {others:.0%} of the processors"
    peak = answer["peak_mib"]
    return f"{seconds:.1f} s, {cpu:.1f} CPU s, {rate:.0f} MiB/s, peak {peak} MiB{beside}"
