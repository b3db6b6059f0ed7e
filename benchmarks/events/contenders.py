"""The contenders that load one CSV file of events: this platform and plain DuckDB.

The module also generates the file.
"""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.contender import Clock

DAY = date(2026, 1, 5)
ORGANIZATIONS = 50
_BYTES_A_LINE = 150
_HELD = "256MB"
_STOOD_STILL = 3_600
_COLUMNS = (
    "event_id",
    "organization_id",
    "integration_id",
    "user_external_id",
    "occurred_at",
    "result",
    "country",
    "ip",
    "application",
    "user_agent",
    "op",
)
_EVENTS = """
    SELECT
        'evt-' || lpad(hex(hash(i)), 16, '0') AS event_id,
        'org-' || lpad((i % $organizations)::VARCHAR, 3, '0') AS organization_id,
        'main' AS integration_id,
        'u-' || lpad((hash(i + 7) % 5000)::VARCHAR, 6, '0') AS user_external_id,
        strftime($day::TIMESTAMP + to_seconds((i % 86400)::INTEGER), '%Y-%m-%dT%H:%M:%SZ')
            AS occurred_at,
        if(hash(i) % 20 = 0, 'failure', 'success') AS result,
        ['DE', 'FR', 'US', 'GB'][1 + (hash(i) % 4)::INTEGER] AS country,
        '10.' || (i % 256) || '.' || (i // 256 % 256) || '.7' AS ip,
        'mail' AS application,
        'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36' AS user_agent,
        'INSERT' AS op
    FROM range($events) AS t (i)
"""


def write_file(gigabytes: float, path: Path) -> int:
    """Write a file of about that size, dated an hour ago; return the number of its events.

    elt_assets checks a recent file twice, seconds apart, because its producer may still be
    writing. That wait is not part of loading, and the other contenders do not have it.
    """
    import duckdb

    events = int(gigabytes * 2**30 / _BYTES_A_LINE)
    with duckdb.connect(config={"threads": 2}) as connection:
        parameters = {"organizations": ORGANIZATIONS, "day": DAY, "events": events}
        connection.execute(f"COPY ({_EVENTS}) TO '{path}' (HEADER)", parameters)
    written = path.stat().st_mtime - _STOOD_STILL
    os.utime(path, (written, written))
    return events


def duckdb_alone(file: str, through: bool) -> dict[str, Any]:
    """Load with `read_csv`, which guesses types, into a new table."""
    return _alone(f"CREATE TABLE events AS FROM read_csv('{file}')")


def duckdb_copy(file: str, through: bool) -> dict[str, Any]:
    """Load with `COPY` into an existing table of text columns."""
    return _alone(f"COPY events FROM '{file}' (HEADER)")


def duckdb_held(file: str, through: bool) -> dict[str, Any]:
    """Load with `read_csv`, within a memory limit like that of elt_assets."""
    return _alone(f"CREATE TABLE events AS FROM read_csv('{file}')", memory_limit=_HELD)


def _alone(statement: str, **config: Any) -> dict[str, Any]:
    import duckdb

    with duckdb.connect("alone.duckdb", config={"threads": 2, **config}) as connection:
        if statement.startswith("COPY"):
            texts = ", ".join(f"{name} VARCHAR" for name in _COLUMNS)
            connection.execute(f"CREATE TABLE events ({texts})")
        clock = Clock()
        connection.execute(statement)
        connection.execute("CHECKPOINT")
        clock.read("loaded")
        (rows,) = connection.execute("SELECT count(*) FROM events").fetchall()[0]
    return clock.answer(rows)


def elt_assets(file: str, through: bool) -> dict[str, Any]:
    """Load the day's folder and commit it with digest, counts and dead letters.

    With `through`, also normalize, deduplicate and summarize the events.
    """
    from elt_assets.config.settings import load_settings
    from elt_assets.identifiers import IntegrationRef
    from elt_assets.signin_events.pipeline import EventPipeline
    from elt_assets.signin_events.results import EventSource
    from elt_assets.sync.service import SyncService

    folder = Path("home") / "events" / DAY.isoformat()
    folder.mkdir(parents=True)
    (folder / "events.csv").hardlink_to(file)
    with (
        SyncService.open(load_settings(home="home")) as platform,
        EventPipeline(platform) as events,
    ):
        for number in range(ORGANIZATIONS):
            ref = IntegrationRef(f"org-{number:03}", "main")
            platform.registry.add(ref, "rest", _PROVIDER_DATA)
        clock, peaks = Clock(), {}

        def done(step: str) -> None:
            clock.read(step)
            peaks[step] = _peak_since_last()

        _peak_since_last()
        (result,) = events.extract_files(DAY)
        done("loaded")
        if result.error is not None:
            raise RuntimeError(result.error)
        if through:
            events.normalize(EventSource.CSV, DAY)
            done("normalized")
            events.load(DAY)
            done("deduplicated")
            events.summarize(DAY)
            done("summarized")
    return clock.answer(result.staged) | {"peaks": peaks}


def _peak_since_last() -> int | None:
    """Peak MiB of this process since the last call; None if the system does not report it."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    (peak,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    Path("/proc/self/clear_refs").write_text("5")
    return round(int(peak.split()[1]) / 1024)


_PROVIDER_DATA = {
    "api_endpoint": "http://127.0.0.1:9",
    "streams": {
        "users": {
            "path": "/users",
            "pagination": {"type": "none"},
            "fields": {"external_id": "id"},
        }
    },
}
