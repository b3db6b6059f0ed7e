"""The extraction comparison as a Markdown table, with a description of what is compared."""

from __future__ import annotations

from typing import Any

from benchmarks.machine import described
from benchmarks.results import markdown_table

_WHAT = """\
Users a second, from the first request to staged rows; the fastest of {repeat} runs (all of them and
their median are in extract.json). Pages of {page_size} users, read with a bearer token from a local
server in a process of its own. Every contender runs in its own process, in turn, after a first
listing of one user. Index pagination (page, offset, scim) is read with {concurrency} requests at
once, which dlt does not do within one listing.

*elt_assets* ends when the users stand mapped, typed, keyed and hashed, with their raw record, in a
DuckDB table, committed with its checkpoints. For dlt there are two figures: *extract* ends when
`pipeline.extract` has written the records to dlt's own files, which is before anything is typed or
in a table; *loaded* ends after `normalize` and `load` (Parquet) into a DuckDB table, which is the
fair comparison. Each ratio is the other's time divided by ours; that of *extract* favours dlt.
"""

_PROCESSOR = """\
Processor seconds for 100,000 users, which are steadier than time on a busy machine, and the ratio
of the others' to ours:
"""

_HEAD = (
    "pagination",
    "latency",
    "users",
    "elt_assets",
    *("RESTClient extract", "ratio", "RESTClient loaded", "ratio"),
    *("rest_api extract", "ratio", "rest_api loaded", "ratio"),
)


def table(document: dict[str, Any]) -> str:
    """The result as Markdown."""
    cases = document["cases"]
    return "\n".join(
        (
            "# Extraction\n",
            _WHAT.format(**document["plan"]),
            markdown_table(_HEAD, (_rates(case) for case in cases)),
            _PROCESSOR,
            markdown_table(_HEAD, (_processor(case) for case in cases)),
            described(document["machine"]) + "\n",
            "Made by `python -m benchmarks extract`.\n",
        )
    )


def _rates(case: dict[str, Any]) -> list[str]:
    users = case["users"]
    row = [*_case(case), f"{case['contenders']['elt_assets']['users_a_second']:,}"]
    for name, kind in _OTHERS:
        fastest = case["contenders"][name]["seconds"][kind]["minimum"]
        row += [f"{users / fastest:,.0f}", f"{case['ratios'][f'{name}, {kind}']:.1f}"]
    return row


def _processor(case: dict[str, Any]) -> list[str]:
    def cpu(name: str, kind: str) -> str:
        least = case["contenders"][name]["cpu"][kind]["minimum"]
        return f"{least / case['users'] * 100_000:.1f}"

    row = [*_case(case), cpu("elt_assets", "staged")]
    for name, kind in _OTHERS:
        row += [cpu(name, kind), f"{case['cpu_ratios'][f'{name}, {kind}']:.1f}"]
    return row


def _case(case: dict[str, Any]) -> list[str]:
    return [case["pagination"], f"{case['latency_ms']} ms", f"{case['users']:,}"]


_OTHERS = [
    (name, kind) for name in ("dlt_rest_client", "dlt_rest_api") for kind in ("staged", "loaded")
]
