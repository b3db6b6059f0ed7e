"""One worker, two workers, and two of which one is killed, as a Markdown table."""

from __future__ import annotations

from typing import Any

from benchmarks.machine import described
from benchmarks.results import markdown_table

_WHAT = """\
First syncs of {integrations:,} integrations of {users:,} users, behind a provider that takes
{latency:.0f} ms for each answer, in runs of {range_integrations} integrations of which a run works
on {concurrency} at a time. Workers are processes of one slot with homes of their own; PostgreSQL,
Redis, the daemon, the provider and the workers share the machine. Afterwards every user is compared
with what the provider holds, and the ledger must name one applied sync of each integration.
"""


def table(document: dict[str, Any]) -> str:
    """Seconds and rates."""
    names = {
        "one": "one worker",
        "two": "two workers",
        "killed": "two, one killed in the middle",
    }
    rows = [
        (names[name], f"{found['seconds']:.0f} s", f"{found['rate']:.2f}")
        for name, found in document["contenders"].items()
    ]
    return (
        f"# Workers\n\n{_WHAT.format(**document['plan'])}\n"
        f"{markdown_table(('', 'seconds', 'integrations a second'), rows)}\n"
        f"Two workers are {document['ratio']:.2f} times as fast as one.\n\n"
        f"{described(document['machine'])}\n\nMade by `python -m benchmarks workers`.\n"
    )
