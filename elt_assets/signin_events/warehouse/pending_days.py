"""Days whose next step is due, stored in the warehouse, so that none is lost in a crash.

A day is added in the transaction that makes a step due, and removed in the transaction that
carries the step out.
"""

from __future__ import annotations

from datetime import date

import duckdb

LOAD = "load"
SUMMARIZE = "summarize"


def add_waiting(connection: duckdb.DuckDBPyConnection, step: str, day: date) -> None:
    """Record that the step is due for the day."""
    done(connection, step, day)
    connection.execute("INSERT INTO waiting_days VALUES ($step, $day)", {"step": step, "day": day})


def done(connection: duckdb.DuckDBPyConnection, step: str, day: date) -> None:
    """Record that the step is no longer due for the day."""
    connection.execute(
        "DELETE FROM waiting_days WHERE step = $step AND day = $day", {"step": step, "day": day}
    )
