"""The cost of the feed and the rate of reading it, as Markdown tables."""

from __future__ import annotations

from typing import Any

from benchmarks.feed.measure import READINGS, SYNCS, WITH, WITHOUT
from benchmarks.machine import described
from benchmarks.results import markdown_table

_WHAT = """\
A first sync and one that finds nothing changed, with the change feed and with its writing left
out. Processor time is that of the syncing process. Then an application reads from `serve-feed`, a
process of its own, in pages of 5,000; the copy is that of `examples/consumer/pull.py`, in pages of
1,000.
"""
_READ = {
    "joined": "snapshot into SQLite, then the feed",
    "read": "the whole feed, decoded",
    "copied": "the whole feed, into SQLite by the example",
}


def table(document: dict[str, Any]) -> str:
    """Seconds of each sync and of each reading."""
    syncs = [
        (
            f"{phase} sync",
            *(
                f"{document['syncs'][name][phase][clock]['minimum']:.2f} s"
                for clock in ("seconds", "cpu")
                for name in (WITHOUT, WITH)
            ),
            *(f"{document['ratios'][phase][clock]:.2f} ×" for clock in ("seconds", "cpu")),
        )
        for phase in SYNCS
    ]
    head = ("", "without", "with", "processor, without", "with", "ratio", "ratio of processor")
    readings = [
        (
            _READ[phase],
            *(
                f"{document['application'][phase][clock]['minimum']:.1f} s"
                for clock in ("seconds", "cpu", "server_cpu")
            ),
            f"{document['application'][phase]['per_second']:,}",
        )
        for phase in READINGS
    ]
    plan = document["plan"]
    return (
        f"# The change feed\n\n{_WHAT}\n{plan['users']:,} users, minimum of {plan['repeat']} runs:"
        f"\n\n{markdown_table(head, syncs)}\n"
        + markdown_table(
            ("application", "took", "its processor", "the server's", "a second"), readings
        )
        + f"\n{described(document['machine'])}\n\nMade by `python -m benchmarks feed`.\n"
    )
