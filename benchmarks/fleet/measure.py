"""The comparison: seconds per integration, first sync and unchanged, contenders in turn.

It decides how many tenants each contender gets.
"""

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

OURS = "elt_assets"
ENGINE = "engine_alone"
PACKAGES = ("elt-assets", "dagster", "dlt", "duckdb", "pyarrow", "uvicorn")


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured. A contender that takes seconds for each tenant gets fewer tenants."""

    integrations: int
    users: int
    page_size: int
    dagster_integrations: int
    dlt_integrations: int
    loop_integrations: int
    repeat: int

    def integrations_of(self) -> dict[str, int]:
        """Tenants by contender."""
        return {
            OURS: self.integrations,
            ENGINE: self.integrations,
            "dagster_default": self.dagster_integrations,
            "dlt_per_tenant": self.dlt_integrations,
            "plain_loop": self.loop_integrations,
        }


def measure(plan: Plan, progress: Callable[[str], None]) -> dict[str, Any]:
    """The whole result as a JSON document."""
    names = {name: count for name, count in plan.integrations_of().items() if count}
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    with serving(plan.users, 0) as url:
        for repetition in range(plan.repeat):
            # The contenders take turns, every other time in reverse: a slow minute hits all alike.
            for name in list(names)[:: 1 if repetition % 2 == 0 else -1]:
                arguments = {
                    "url": url,
                    "integrations": names[name],
                    "users": plan.users,
                    "page_size": plan.page_size,
                }
                with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
                    answer = run(f"benchmarks.fleet.contenders:{name}", arguments, Path(folder))
                if answer["rows"] != names[name] * plan.users:
                    raise RuntimeError(f"{name} has {answer['rows']} users")
                answers[name].append(answer)
                first, both = answer["seconds"]["first"], answer["seconds"]["both"]
                progress(
                    f"{name}: {first / names[name]:.3f} s an integration at first, "
                    f"{(both - first) / names[name]:.3f} s unchanged"
                )
    figures = {name: _figure(names[name], found) for name, found in answers.items()}
    return {
        "benchmark": "fleet",
        "plan": asdict(plan),
        "machine": machine(PACKAGES),
        "contenders": figures,
        "ratios": {
            name: {
                kind: round(figure[kind]["minimum"] / figures[OURS][kind]["minimum"], 1)
                for kind in ("first", "unchanged")
            }
            for name, figure in figures.items()
            if name not in (OURS, ENGINE)
        },
        "dagster_share": {
            kind: round(1 - figures[ENGINE][kind]["minimum"] / figures[OURS][kind]["minimum"], 2)
            for kind in ("first", "unchanged")
        },
    }


def _figure(integrations: int, answers: list[dict[str, Any]]) -> dict[str, Any]:
    """Seconds for one integration."""
    first = [answer["seconds"]["first"] for answer in answers]
    both = [answer["seconds"]["both"] for answer in answers]
    return {
        "integrations": integrations,
        "first": summary(one / integrations for one in first),
        "unchanged": summary(
            (two - one) / integrations for one, two in zip(first, both, strict=True)
        ),
        "peak_mib": max(answer["peak_mib"] for answer in answers),
    }
