"""The comparison on PostgreSQL, as a Markdown table."""

from __future__ import annotations

from typing import Any

from benchmarks.machine import described
from benchmarks.results import markdown_table

_WHAT = """\
Every user of one integration has changed, and the change log holds it: seconds until the table
that applications read is up to date. Ours also compares and sets the version, counts the rows
afterwards, closes the ledger row and marks the log, in one transaction with the rest. The bare way
is a COPY of the same rows into a temporary table, one upsert from it, and the commit.
"""


def table(document: dict[str, Any]) -> str:
    """Seconds of both, and how many times as long ours takes."""
    users = document["plan"]["users"]
    names = {"ours": "elt_assets, apply", "bare": "COPY and upsert"}
    rows = [
        (
            names[name],
            f"{found['minimum']:.2f} s",
            f"{found['median']:.2f} s",
            f"{users / found['minimum']:,.0f}",
        )
        for name, found in document["contenders"].items()
    ]
    head = ("", "minimum", "median", "users a second")
    return (
        f"# Applying {users:,} changed users to PostgreSQL\n\n{_WHAT}\n"
        f"{markdown_table(head, rows)}\n"
        f"Ours takes {document['ratio']:.2f} times as long. Minimum of "
        f"{document['plan']['repeat']} runs.\n\n"
        f"{described(document['machine'])}\n\nMade by `python -m benchmarks postgres`.\n"
    )
