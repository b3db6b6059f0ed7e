"""The comparison of one large tenant, as a Markdown table."""

from __future__ import annotations

from typing import Any

from benchmarks.large.measure import DLT, LINE, OURS, PHASES
from benchmarks.machine import described
from benchmarks.results import markdown_table

_WHAT = """\
Users a second of one tenant: from local HTTP to the table that applications read. The straight
line has no checkpoint, no certificate, no log of changes, no safeguards and keeps everything in
memory; it writes the same SQLite table. dlt merges by key into a DuckDB file and finds no deletes.
"""


def table(document: dict[str, Any]) -> str:
    """Users a second of each sync, and how many times as fast ours is."""
    settings = document["dlt_settings"]
    names = {
        OURS: "elt_assets, 8 requests at once",
        LINE: "straight line, 8 requests at once",
        DLT: f"dlt, {settings['file_format']}, {settings['strategy']}",
    }
    rows = []
    for name, figure in document["contenders"].items():
        times = document["ratios"].get(name)
        rows.append(
            (
                names[name],
                f"{figure['users']:,}",
                *(f"{figure[phase]['per_second']:,}" for phase in PHASES),
                *(f"{times[phase]:.2f} ×" if times else "" for phase in PHASES),
                f"{figure['peak_mib']:,} MiB",
            )
        )
    head = (
        "users a second",
        "users",
        "first",
        "unchanged",
        "1% changed",
        "first, ours / theirs",
        "unchanged",
        "1% changed",
        "peak memory",
    )
    after = document["changed_after_fetching"]
    stages = [
        (sync, *(f"{seconds:.1f} s" for seconds in found.values()))
        for sync, found in document["stages"].items()
    ]
    return (
        f"# One large tenant\n\n{_WHAT}\n{markdown_table(head, rows)}\n"
        f"Ours by stage:\n\n"
        f"{markdown_table(('sync', *next(iter(document['stages'].values()))), stages)}\n"
        f"1% changed, after fetching: ours compares and applies in "
        f"{after['ours']['minimum']:.2f} s, a bare join and bulk write of the same records "
        f"takes {after['bare']['minimum']:.2f} s "
        f"({after['ratio']:.2f} ×). Minimum of {document['plan']['repeat']} runs.\n\n"
        f"{described(document['machine'])}\n\nMade by `python -m benchmarks large`.\n"
    )
