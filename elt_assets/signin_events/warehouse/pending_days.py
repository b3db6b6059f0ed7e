"""Days whose next step is due, kept in the warehouse, so that no crash forgets one.

A day is added in the transaction that makes a step due, and removed in the one that does it.
"""

from __future__ import annotations

from datetime import date

import duckdb

LOAD = "load"
SUMMARIZE = "summarize"


def add_waiting(connection: duckdb.DuckDBPyConnection, step: str, day: date) -> None:
    """The step is due for the day."""
    done(connection, step, day)
    connection.execute("INSERT INTO waiting_days VALUES ($step, $day)", {"step": step, "day": day})


def done(connection: duckdb.DuckDBPyConnection, step: str, day: date) -> None:
    """The step is no longer due for the day."""
    connection.execute(
        "DELETE FROM waiting_days WHERE step = $step AND day = $day", {"step": step, "day": day}
    )
