"""The comparison: users a second of one large tenant, contenders in turn.

It finds the fastest settings of dlt and uses those.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.contender import run
from benchmarks.extract.provider import serving
from benchmarks.machine import machine
from benchmarks.results import summary

OURS = "elt_assets"
LINE = "straight_line"
DLT = "dlt"
BARE = "bare_comparison"
PHASES = ("first", "unchanged", "changed")
PACKAGES = ("elt-assets", "dlt", "duckdb", "pyarrow", "adbc-driver-sqlite", "uvicorn")


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured; dlt, which takes many times as long, gets fewer users."""

    users: int
    dlt_users: int
    page_size: int
    repeat: int


def measure(plan: Plan, progress: Callable[[str], None]) -> dict[str, Any]:
    """The whole result as a JSON document."""
    sizes = {OURS: plan.users, LINE: plan.users, DLT: plan.dlt_users, BARE: plan.users}
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in sizes}
    with serving(max(sizes.values()), 0) as url:
        settings, tried = _fastest_dlt(url, plan, progress)
        for repetition in range(plan.repeat):
            # The contenders take turns, every other time in reverse: a slow minute hits all alike.
            for name in list(sizes)[:: 1 if repetition % 2 == 0 else -1]:
                more = settings if name == DLT else {}
                answer = _run(name, url, sizes[name], plan.page_size, more)
                if answer["rows"] != sizes[name]:
                    raise RuntimeError(f"{name} has {answer['rows']} users")
                answers[name].append(answer)
                progress(f"{name}: {_spoken(_phases(answer))}")
    figures = {name: _figure(sizes[name], answers[name]) for name in (OURS, LINE, DLT)}
    ours = answers[OURS]
    compared = summary(
        one["stages"]["changed"]["detect"] + one["stages"]["changed"]["apply"] for one in ours
    )
    bare = summary(one["seconds"]["changed"] for one in answers[BARE])
    return {
        "benchmark": "large",
        "plan": asdict(plan),
        "machine": machine(PACKAGES),
        "dlt_settings": settings | {"tried": tried},
        "contenders": figures,
        "stages": min(ours, key=lambda one: one["seconds"]["first"])["stages"],
        "ratios": {
            name: {
                phase: round(
                    figures[OURS][phase]["per_second"] / figures[name][phase]["per_second"], 2
                )
                for phase in PHASES
            }
            for name in (LINE, DLT)
        },
        "changed_after_fetching": {
            "ours": compared,
            "bare": bare,
            "ratio": round(compared["minimum"] / bare["minimum"], 2),
        },
    }


def _fastest_dlt(
    url: str, plan: Plan, progress: Callable[[str], None]
) -> tuple[dict[str, str], dict[str, float]]:
    """The settings with which dlt is fastest at a tenth of its users, and all that were tried."""
    tried: dict[str, float] = {}
    for file_format, strategy in product(("parquet", "jsonl"), ("upsert", "delete-insert")):
        more = {"file_format": file_format, "strategy": strategy}
        answer = _run(DLT, url, max(1, plan.dlt_users // 10), plan.page_size, more)
        tried[f"{file_format}, {strategy}"] = round(sum(_phases(answer).values()), 2)
        progress(f"dlt with {file_format}, {strategy}: {_spoken(_phases(answer))}")
    file_format, _, strategy = min(tried, key=lambda name: tried[name]).partition(", ")
    return {"file_format": file_format, "strategy": strategy}, tried


def _run(name: str, url: str, users: int, page_size: int, more: dict[str, str]) -> dict[str, Any]:
    arguments = {"url": url, "users": users, "page_size": page_size, **more}
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        return run(f"benchmarks.large.contenders:{name}", arguments, Path(folder))


def _phases(answer: dict[str, Any]) -> dict[str, float]:
    """Seconds of each sync."""
    seconds = answer["seconds"]
    if "first" not in seconds:
        return {"changed": seconds["changed"]}
    return {
        "first": seconds["first"],
        "unchanged": seconds["unchanged"] - seconds["first"],
        "changed": seconds["changed"] - seconds["waited"],
    }


def _figure(users: int, answers: list[dict[str, Any]]) -> dict[str, Any]:
    phases = [_phases(answer) for answer in answers]
    found: dict[str, Any] = {phase: summary(one[phase] for one in phases) for phase in PHASES}
    for phase in PHASES:
        found[phase]["per_second"] = round(users / found[phase]["minimum"])
    return found | {"users": users, "peak_mib": max(answer["peak_mib"] for answer in answers)}


def _spoken(phases: dict[str, float]) -> str:
    return ", ".join(f"{name} {seconds:.1f} s" for name, seconds in phases.items())
