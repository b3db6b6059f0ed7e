"""The fleet comparison as a Markdown table."""

from __future__ import annotations

from typing import Any

from benchmarks.machine import described
from benchmarks.results import markdown_table

_NAMES = {
    "elt_assets": "elt_assets, runs of ranges",
    "engine_alone": "elt_assets, without Dagster",
    "dagster_default": "the same tables, Dagster's default way",
    "dlt_per_tenant": "dlt, a pipeline a tenant",
    "plain_loop": "a plain loop over tenants",
}

_WHAT = """\
Seconds for one integration: fetched over local HTTP, staged, compared, applied. Ours, and the plain
loop, keep a log of changes and a table for applications; dlt merges by key into a DuckDB file and
finds no deletes. Dagster's default way is the same engine as three assets, with a run for each
partition and a process for each step. Every contender runs in its own process, after one tenant
that is not measured.
"""


def table(document: dict[str, Any]) -> str:
    """Seconds per integration, and their ratio to ours."""
    plan, ratios = document["plan"], document["ratios"]
    share = document["dagster_share"]
    rows = []
    for name, figure in document["contenders"].items():
        times = ratios.get(name)
        rows.append(
            (
                _NAMES[name],
                f"{figure['integrations']:,}",
                f"{figure['first']['minimum']:.3f} s",
                f"{figure['unchanged']['minimum']:.3f} s",
                f"{times['first']:.0f} ×" if times else "",
                f"{times['unchanged']:.0f} ×" if times else "",
                f"{figure['peak_mib']:,} MiB",
            )
        )
    head = (
        f"tenants of {plan['users']:,} users",
        "tenants",
        "first sync, each",
        "unchanged, each",
        "first, ours 1",
        "unchanged, ours 1",
        "peak memory",
    )
    return (
        f"# A fleet of small tenants\n\n{_WHAT}\n{markdown_table(head, rows)}\n"
        f"Dagster's share of our time: {share['first']:.0%} of a first sync, "
        f"{share['unchanged']:.0%} of an unchanged one. Minimum of {plan['repeat']} runs.\n\n"
        f"{described(document['machine'])}\n\nMade by `python -m benchmarks fleet`.\n"
    )
