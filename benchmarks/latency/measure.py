"""The comparison: seconds per integration by the latency of answers, at the default settings.

Another checkout of the platform, such as one of the commit before, may be a contender too.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from typing import Any

from benchmarks.contender import ROOT, run
from benchmarks.extract.provider import serving
from benchmarks.machine import machine

OURS = "elt_assets"
BEFORE = "before"
PACKAGES = ("elt-assets", "dagster", "dlt", "duckdb", "uvicorn")


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured. Contenders that sync one tenant after the other get fewer of them."""

    integrations: int
    users: int
    page_size: int
    latencies: tuple[int, ...]
    dlt_integrations: int
    loop_integrations: int
    fetches: int
    before: str | None = None

    @property
    def pages(self) -> int:
        """Requests of a tenant, which are made one after the other."""
        return ceil(self.users / self.page_size)

    def waiting(self, latency: int) -> float:
        """The least seconds that our fleet waits for its providers."""
        return ceil(self.integrations / self.fetches) * self.pages * latency / 1000

    def contenders(self) -> dict[str, tuple[str, int, Path]]:
        """For each contender its function, its number of tenants, and its checkout."""
        found = {OURS: ("elt_assets", self.integrations, ROOT)}
        if self.before is not None:
            found[BEFORE] = ("elt_assets", self.integrations, Path(self.before))
        for name, count in (
            ("dlt_per_tenant", self.dlt_integrations),
            ("plain_loop", self.loop_integrations),
        ):
            if count:
                found[name] = (name, count, ROOT)
        return found


def measure(plan: Plan, progress: Callable[[str], None]) -> dict[str, Any]:
    """The whole result as a JSON document."""
    facts = machine(PACKAGES)
    figures: dict[str, dict[str, dict[str, Any]]] = {}
    for latency in plan.latencies:
        found = figures[str(latency)] = {}
        with serving(plan.users, latency) as url:
            for name, (function, count, root) in plan.contenders().items():
                found[name] = _measured(plan, url, function, count, root)
                progress(
                    f"{latency} ms, {name}: {found[name]['first']:.3f} s an integration at first, "
                    f"{found[name]['unchanged']:.3f} s unchanged, {found[name]['peak_mib']} MiB"
                )
    return {
        "benchmark": "latency",
        "plan": asdict(plan),
        "machine": facts,
        "latencies": figures,
        "bounds": _bounds(plan, figures),
    }


def _measured(plan: Plan, url: str, function: str, count: int, root: Path) -> dict[str, Any]:
    arguments = {
        "url": url,
        "integrations": count,
        "users": plan.users,
        "page_size": plan.page_size,
    }
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        answer = run(f"benchmarks.fleet.contenders:{function}", arguments, Path(folder), root)
    if answer["rows"] != count * plan.users:
        raise RuntimeError(f"{function} has {answer['rows']} users")
    first, both = answer["seconds"]["first"], answer["seconds"]["both"]
    return {
        "integrations": count,
        "first": round(first / count, 4),
        "unchanged": round((both - first) / count, 4),
        "requests": answer.get("requests"),
        "peak_mib": answer["peak_mib"],
    }


def _bounds(plan: Plan, figures: dict[str, dict[str, dict[str, Any]]]) -> dict[str, Any]:
    """Divide our fleet's time by the larger of its time without latency and its waiting alone."""
    base = figures.get("0")
    if base is None:
        return {}
    return {
        latency: {
            **{
                kind: round(
                    found[OURS][kind]
                    * plan.integrations
                    / max(base[OURS][kind] * plan.integrations, plan.waiting(int(latency))),
                    2,
                )
                for kind in ("first", "unchanged")
            },
            "memory": round(found[OURS]["peak_mib"] / base[OURS]["peak_mib"], 2),
        }
        for latency, found in figures.items()
        if latency != "0"
    }
