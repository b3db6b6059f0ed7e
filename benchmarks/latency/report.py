"""The comparison by latency as a Markdown table."""

from __future__ import annotations

from typing import Any

from benchmarks.machine import described
from benchmarks.results import markdown_table

_NAMES = {
    "elt_assets": "elt_assets",
    "before": "elt_assets, the other checkout",
    "dlt_per_tenant": "dlt, a pipeline a tenant",
    "plain_loop": "a plain loop over tenants",
}

_WHAT = """\
Seconds for one integration whose provider takes the given time for each answer: fetched over HTTP,
staged, compared, applied, through Dagster and with the default settings. dlt and the plain loop
sync one tenant after the other. One run of each contender, in a process of its own.
"""


def table(document: dict[str, Any]) -> str:
    """Seconds an integration by latency and contender."""
    plan = document["plan"]
    rows = [
        (
            f"{int(latency):,} ms, {_NAMES[name]}",
            f"{figure['integrations']:,}",
            f"{figure['first']:.3f} s",
            f"{figure['unchanged']:.3f} s",
            _requests(figure["requests"]),
            f"{figure['peak_mib']:,} MiB",
        )
        for latency, found in document["latencies"].items()
        for name, figure in found.items()
    ]
    head = (
        f"tenants of {plan['users']:,} users, {plan['page_size']} a page",
        "tenants",
        "first sync, each",
        "unchanged, each",
        "requests of a sync",
        "peak memory",
    )
    bounds = "".join(
        f"At {int(latency):,} ms the fleet takes {bound['first']:.2f} (first) and "
        f"{bound['unchanged']:.2f} (unchanged) times the larger of its time without latency and "
        f"its waiting alone, and {bound['memory']:.2f} times the memory.\n"
        for latency, bound in document["bounds"].items()
    )
    return (
        f"# A fleet at its providers' pace\n\n{_WHAT}\n{markdown_table(head, rows)}\n{bounds}\n"
        f"{described(document['machine'])}\n\nMade by `python -m benchmarks latency`.\n"
    )


def _requests(found: dict[str, float] | None) -> str:
    return "" if found is None else f"{found['first']:g} / {found['unchanged']:g}"
