"""The loading of event files, as a Markdown table."""

from __future__ import annotations

from typing import Any

from benchmarks.machine import described
from benchmarks.results import markdown_table

_WHAT = """\
One CSV file of {rows:,} sign-in events, {gigabytes:.2f} GiB, into a table of a DuckDB file; the
fastest of {repeat} runs, each in a process of its own. *DuckDB alone* creates the table from
`read_csv`, which guesses types; *COPY* loads into a table of texts; both stop at the first bad
line. *Held* is the former with a `memory_limit` near what we take. Ours also writes bad
lines to the dead letters, counts lines with another reader, takes the content's digest, and
commits all that with its checkpoint. Its peak includes Python and the platform. *Others* is the
share of the processors that other processes took: elapsed times say little unless it is small.
"""

_NAMES = {
    "elt_assets": "elt_assets",
    "duckdb_alone": "DuckDB alone",
    "duckdb_copy": "DuckDB alone, COPY",
    "duckdb_held": "DuckDB alone, held",
}


_HEAD = ("", "seconds", "CPU seconds", "MiB/s", "events/s", "peak MiB", "others")


def table(document: dict[str, Any]) -> str:
    """The result as Markdown."""
    file, share = document["file"], document["rate_share"]
    rows = [
        (
            _NAMES[name],
            f"{figure['seconds']['minimum']:.1f}",
            f"{figure['cpu']['minimum']:.1f}",
            f"{figure['mib_a_second']:.0f}",
            f"{figure['rows_a_second']:,}",
            f"{figure['peak_mib']}",
            _others(figure),
        )
        for name, figure in document["contenders"].items()
    ]
    lines = [
        "# Event files\n",
        _WHAT.format(
            rows=file["rows"], gigabytes=file["bytes"] / 2**30, repeat=document["plan"]["repeat"]
        ),
        markdown_table(_HEAD, rows),
        _shares("by the clock", share["seconds"]),
        _shares("by CPU time", share["cpu"]),
    ]
    if document["through"] is not None:
        seconds = document["through"]["seconds"]
        peaks = document["through"]["peaks"]
        steps = ", ".join(
            f"{name} after {found:.1f} s ({peaks[name]} MiB)" for name, found in seconds.items()
        )
        lines.append(f"All the way to the summary: {steps}.\n")
    lines += [described(document["machine"]) + "\n", "Made by `python -m benchmarks events`.\n"]
    return "\n".join(lines)


def _others(figure: dict[str, Any]) -> str:
    """The share of the processors that other processes took in the fastest run."""
    seconds = figure["seconds"]
    share = figure["others"][seconds["runs"].index(seconds["minimum"])]
    return "unknown" if share is None else f"{share:.0%}"


def _shares(clock: str, share: dict[str, float]) -> str:
    return (
        f"Our rate {clock} is {share['fastest']:.0%} of DuckDB's alone, the faster of the two: "
        f"{share['duckdb_alone']:.0%} of `read_csv`'s, {share['duckdb_copy']:.0%} of `COPY`'s; "
        f"within a repetition {share['paired']:.0%} (median).\n"
    )
