"""The comparison: every pagination type, with and without latency, contenders in turn.

It also checks that no contender lost a user.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.contender import run
from benchmarks.extract.contenders import PAGINATIONS
from benchmarks.extract.provider import serving
from benchmarks.machine import machine
from benchmarks.results import summary

CONTENDERS = ("elt_assets", "dlt_rest_client", "dlt_rest_api")
PACKAGES = ("elt-assets", "dlt", "duckdb", "msgspec", "pyarrow", "urllib3", "uvicorn")


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured; `only` names pagination types, none means all."""

    users: int
    slow_users: int
    page_size: int
    latency: int
    concurrency: int
    repeat: int
    only: tuple[str, ...] = ()


def measure(plan: Plan, progress: Callable[[str], None]) -> dict[str, Any]:
    """The whole result as a JSON document."""
    facts = machine(PACKAGES)
    cases = []
    for latency, users in ((0, plan.users), (plan.latency, plan.slow_users)):
        with serving(users, latency) as url:
            for pagination in plan.only or PAGINATIONS:
                case = _case(plan, url, pagination, users)
                cases.append({"pagination": pagination, "latency_ms": latency} | case)
                progress(f"{pagination}, {latency} ms: {_line(case)}")
    return {"benchmark": "extract", "plan": asdict(plan), "machine": facts, "cases": cases}


def _line(case: dict[str, Any]) -> str:
    figures = case["contenders"].items()
    return ", ".join(f"{name} {figure['users_a_second']:,}/s" for name, figure in figures)


def _case(plan: Plan, url: str, pagination: str, users: int) -> dict[str, Any]:
    arguments = {
        "url": url,
        "pagination": pagination,
        "users": users,
        "page_size": plan.page_size,
        "concurrency": plan.concurrency,
    }
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in CONTENDERS}
    for repetition in range(plan.repeat):
        # The contenders take turns, every other time in reverse: a slow minute hits all alike.
        for name in CONTENDERS[:: 1 if repetition % 2 == 0 else -1]:
            with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
                answer = run(f"benchmarks.extract.contenders:{name}", arguments, Path(folder))
            if answer["rows"] != users:
                raise RuntimeError(f"{name} staged {answer['rows']} of {users} users")
            answers[name].append(answer)
    figures = {name: _figure(users, found) for name, found in answers.items()}
    return {
        "users": users,
        "contenders": figures,
        "ratios": _ratios(figures, "seconds"),
        "cpu_ratios": _ratios(figures, "cpu"),
    }


def _ratios(figures: dict[str, Any], clock: str) -> dict[str, float]:
    """For each of the other contenders, its time divided by ours."""
    ours = figures["elt_assets"][clock]["staged"]["minimum"]
    return {
        f"{name}, {kind}": round(figures[name][clock][kind]["minimum"] / ours, 2)
        for name in CONTENDERS[1:]
        for kind in ("staged", "loaded")
    }


def _figure(users: int, answers: list[dict[str, Any]]) -> dict[str, Any]:
    seconds, cpu = (
        {kind: summary(answer[clock][kind] for answer in answers) for kind in answers[0][clock]}
        for clock in ("seconds", "cpu")
    )
    figure = {
        "seconds": seconds,
        "cpu": cpu,
        "users_a_second": round(users / seconds["staged"]["minimum"]),
        "peak_mib": max(answer["peak_mib"] for answer in answers),
    }
    if "stages" in answers[0]:
        best = min(answers, key=lambda answer: float(answer["seconds"]["staged"]))
        figure["stages"] = best["stages"]
    return figure
