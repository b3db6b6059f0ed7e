"""The comparison of a sync with the feed and without, and the rates of an application."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.contender import run
from benchmarks.extract.provider import serving
from benchmarks.machine import machine
from benchmarks.results import summary

WITH, WITHOUT = "with_feed", "without_feed"
SYNCS = ("first", "unchanged")
READINGS = ("joined", "read", "copied")
PACKAGES = ("elt-assets", "duckdb", "pyarrow", "adbc-driver-sqlite", "uvicorn", "msgspec")


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    users: int
    page_size: int
    repeat: int


def measure(plan: Plan, progress: Callable[[str], None]) -> dict[str, Any]:
    """The whole result as a JSON document."""
    syncs: dict[str, list[dict[str, Any]]] = {WITH: [], WITHOUT: []}
    readings: list[dict[str, Any]] = []
    with serving(plan.users, 0) as url:
        arguments = {"url": url, "users": plan.users, "page_size": plan.page_size}
        for repetition in range(plan.repeat):
            # The two take turns, every other time in reverse: a slow minute hits both alike.
            for name in list(syncs)[:: 1 if repetition % 2 == 0 else -1]:
                with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
                    answer = _run(name, arguments, Path(folder), plan.users)
                    syncs[name].append(answer)
                    progress(f"{name}: {_spoken(answer, SYNCS)}")
                    if name == WITH:
                        read = _run("application", {"users": plan.users}, Path(folder), plan.users)
                        readings.append(read)
                        progress(f"application: {_spoken(read, READINGS)}")
    figures = {name: _figure(answers, SYNCS) for name, answers in syncs.items()}
    return {
        "benchmark": "feed",
        "plan": asdict(plan),
        "machine": machine(PACKAGES),
        "syncs": figures,
        "ratios": {
            phase: {
                clock: round(
                    figures[WITH][phase][clock]["minimum"]
                    / figures[WITHOUT][phase][clock]["minimum"],
                    3,
                )
                for clock in ("seconds", "cpu")
            }
            for phase in SYNCS
        },
        "application": {
            phase: figure | {"per_second": round(plan.users / figure["seconds"]["minimum"])}
            for phase, figure in _figure(readings, READINGS, "server_cpu").items()
        },
    }


def _run(name: str, arguments: dict[str, Any], folder: Path, users: int) -> dict[str, Any]:
    answer = run(f"benchmarks.feed.contenders:{name}", arguments, folder)
    if answer["rows"] < users:
        raise RuntimeError(f"{name} has {answer['rows']} users")
    return answer


def _figure(
    answers: list[dict[str, Any]], phases: tuple[str, ...], *further: str
) -> dict[str, dict[str, Any]]:
    """Seconds and processor seconds of each phase."""
    return {
        phase: {
            clock: summary(_phase(answer[clock], phases, phase) for answer in answers)
            for clock in ("seconds", "cpu", *further)
        }
        for phase in phases
    }


def _phase(read: dict[str, float], phases: tuple[str, ...], phase: str) -> float:
    place = phases.index(phase)
    return read[phase] - (read[phases[place - 1]] if place else 0.0)


def _spoken(answer: dict[str, Any], phases: tuple[str, ...]) -> str:
    return ", ".join(
        f"{phase} {_phase(answer['seconds'], phases, phase):.1f} s "
        f"({_phase(answer['cpu'], phases, phase):.1f} s of processor)"
        for phase in phases
    )
