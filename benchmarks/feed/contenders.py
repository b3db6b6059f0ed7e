"""The contenders: a first and an unchanged sync with the feed and without, and an application.

The application takes a snapshot and joins the feed, reads the whole feed, and keeps a copy with the
program of `examples/consumer`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import sqlite3  # noqa: TID251 (the application's own file)
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import urllib3

from benchmarks.contender import Clock
from benchmarks.extract.contenders import indexed
from benchmarks.extract.provider import TOKEN

HOME = Path("home")
_CONNECTIONS = 8
_PAGE = 5_000
_EXAMPLE = Path(__file__).parents[2] / "examples" / "consumer" / "pull.py"
_TICKS = os.sysconf("SC_CLK_TCK")


def with_feed(url: str, users: int, page_size: int) -> dict[str, Any]:
    """Sync twice with the engine as it is."""
    from elt_assets.config.settings import load_settings
    from elt_assets.identifiers import IntegrationRef
    from elt_assets.sync.service import SyncService
    from elt_assets.sync.streams import USERS

    os.environ["BENCHMARK_TOKEN"] = TOKEN
    warm, large = IntegrationRef("benchmark", "warm"), IntegrationRef("benchmark", "large")
    with SyncService.open(load_settings(home=HOME)) as platform:
        for ref, count in ((warm, 1), (large, users)):
            platform.registry.add(ref, "rest", indexed(url, count, page_size, _CONNECTIONS))
        list(platform.sync(USERS, [warm], sync_id="warm"))
        clock, rows = Clock(), 0
        for name in ("first", "unchanged"):
            (outcome,) = platform.sync(USERS, [large], sync_id=name)
            if outcome.error or not outcome.certificate.complete:
                raise RuntimeError(f"{outcome.error} {outcome.certificate.reasons}")
            clock.read(name)
            rows = outcome.counts.latest
    return clock.answer(rows)


def without_feed(url: str, users: int, page_size: int) -> dict[str, Any]:
    """Sync twice with the same engine, which publishes nothing."""
    with patch("elt_assets.sync.state.feed_log.publish", lambda *_: None):
        return with_feed(url, users, page_size)


def application(users: int) -> dict[str, Any]:
    """Read the feed that `with_feed` left in this folder, from a server in its own process.

    `server_cpu` has the server's seconds of processor time, next to the application's in `cpu`.
    """
    with _served() as (url, token, server_cpu), urllib3.PoolManager() as http:

        def ask(path: str, **query: Any) -> Any:
            headers = {"Authorization": f"Bearer {token}"}
            answer = http.request("GET", f"{url}{path}", fields=query, headers=headers)
            if answer.status != 200:
                raise RuntimeError(answer.data.decode())
            return json.loads(answer.data)

        clock, server, rows = Clock(), {}, 0
        readings: dict[str, Callable[[], int]] = {
            "joined": lambda: _joined(ask),
            "read": lambda: sum(len(page["entries"]) for page in _pages(ask, "0")),
            "copied": lambda: _copied(url, token),
        }
        for name, reading in readings.items():
            rows = reading()
            if rows < users:
                raise RuntimeError(f"{name}: {rows} of {users} users")
            clock.read(name)
            server[name] = server_cpu()
    return clock.answer(rows) | {"server_cpu": server}


def _joined(ask: Callable[..., Any]) -> int:
    """Make a copy in SQLite from a snapshot, then follow the feed; return its number of rows."""
    copy = sqlite3.connect("joined.db", isolation_level=None)
    copy.execute("PRAGMA journal_mode = WAL")
    copy.execute(
        "CREATE TABLE users (org, integration, id, row, PRIMARY KEY (org, integration, id))"
    )
    query: dict[str, Any] = {"stream": "users", "limit": _PAGE}
    while True:
        page = ask("/snapshot", **query)
        copy.execute("BEGIN")
        copy.executemany(
            "REPLACE INTO users VALUES (?, ?, ?, ?)",
            [
                (
                    row["organization_id"],
                    row["connected_integration_id"],
                    row["id"],
                    json.dumps(row["row"]),
                )
                for row in page["rows"]
            ],
        )
        copy.execute("COMMIT")
        if page["next_page"] is None:
            break
        query["page"] = page["next_page"]
    for following in _pages(ask, page["position"]):
        if following["entries"]:
            raise RuntimeError("nothing was applied since the snapshot")
    (count,) = copy.execute("SELECT count(*) FROM users").fetchone()
    copy.close()
    return int(count)


def _pages(ask: Callable[..., Any], after: str) -> Iterator[dict[str, Any]]:
    while True:
        page = ask("/feed", after=after, limit=_PAGE)
        yield page
        if not page["more"]:
            return
        after = page["next"]


def _copied(url: str, token: str) -> int:
    """Bring the copy of the example program up to date; return its number of rows."""
    spec = importlib.util.spec_from_file_location("pull", _EXAMPLE)
    if spec is None or spec.loader is None:
        raise LookupError(_EXAMPLE)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    with sqlite3.connect("copied.db") as copy:
        # The copy starts at the beginning of the feed, not with a snapshot.
        copy.execute("CREATE TABLE position (feed)")
        copy.execute("INSERT INTO position VALUES ('0')")
    at = None
    while at != (at := example.pull(url, token, "copied.db", wait=0)):
        pass
    with sqlite3.connect("copied.db") as copy:
        (count,) = copy.execute("SELECT count(*) FROM users").fetchone()
    return int(count)


@contextmanager
def _served() -> Iterator[tuple[str, str, Callable[[], float]]]:
    """The server's address, a consumer's token, and how to read the server's processor time."""
    from elt_assets.config.settings import load_settings
    from elt_assets.feed.consumers import Consumers
    from elt_assets.feed.scope import Scope
    from elt_assets.sync.service import SyncService

    with SyncService.open(load_settings(home=HOME)) as platform:
        token = str(Consumers(platform.database).add("benchmark", Scope(), after="0"))
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = int(found.getsockname()[1])
    command = [sys.executable, "-m", "elt_assets", "serve-feed", "--port", str(port)]
    environment = {**os.environ, "ELT_ASSETS_HOME": str(HOME.absolute())}
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment) as process:
        try:
            while process.poll() is None:
                with suppress(OSError):
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}", token, lambda: _processor_time(process.pid)
        finally:
            process.terminate()


def _processor_time(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS
