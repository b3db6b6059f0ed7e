"""What may die: the process that applies, delivers, serves or pulls.

A death is SIGKILL, at a commit boundary of a store or after a time.
"""

from __future__ import annotations

import importlib.util
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple

from elt_assets.cli.commands.feed import served
from elt_assets.config.settings import load_settings
from elt_assets.feed.delivery import Deliverer
from elt_assets.feed.listener import listener
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.from_settings import operational_database
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import USERS
from elt_assets_tests.sync.crashing import Boundaries, die, watched, watched_warehouses
from elt_assets_tests.sync.worlds import Company, World

EXAMPLES = Path(__file__).parents[3] / "examples" / "consumer"
SETTINGS: dict[str, Any] = {
    # What may change in a day is not what this campaign is about.
    "max_delete_share": 1.0,
    "max_delete_count": 1_000_000,
    "lock_wait": 20.0,
    # Nor is how often a sync may be interrupted.
    "max_recoveries": 1_000,
}


class Death(NamedTuple):
    """When a process dies: at a commit boundary, or after some seconds; neither is never."""

    boundary: int | None = None
    seconds: float | None = None


class Act(NamedTuple):
    """What one process changes: sync these records, undo that sync, or rebuild."""

    kind: str
    ref: IntegrationRef
    sync_id: str
    records: list[dict[str, Any]]


def apply(home: Path, act: Act, death: Death) -> None:
    """Change one integration's latest table."""
    company = Company(home, **SETTINGS)
    company.worlds[act.ref.partition_key] = World(act.records, page_size=20)
    boundaries = _mortal(death)
    watched(company.platform.database, boundaries)
    watched_warehouses(company.platform.warehouses, boundaries)
    _change(company.platform, act)
    company.platform.close()


def deliver(home: Path, death: Death) -> None:
    """Send webhooks what is due."""
    settings = load_settings(home=home, **SETTINGS)
    database = watched(operational_database(settings), _mortal(death))
    Deliverer(database, settings).deliver(seconds=60)
    database.close()


def serve(home: Path, port: int) -> None:
    """Serve the feed, without delivering, until killed."""
    settings = load_settings(home=home, **SETTINGS)
    listener(served(settings, delivering=False), "127.0.0.1", port).run()


def pull(url: str, token: str, file: str, death: Death) -> None:
    """Let the example consumer catch up; a server that is gone ends it."""
    spec = importlib.util.spec_from_file_location("pull", EXAMPLES / "pull.py")
    if spec is None or spec.loader is None:
        raise LookupError(EXAMPLES)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    _mortal(death)
    at = None
    with suppress(OSError, HTTPException):
        while at != (at := example.pull(url, token, file, wait=0)):
            pass


def _change(platform: SyncService, act: Act) -> None:
    if act.kind == "undo":
        platform.undo(USERS, act.ref, act.sync_id, force=True)
    elif act.kind == "rebuild":
        platform.rebuild(USERS, act.ref)
    else:
        (outcome,) = platform.sync(USERS, [act.ref], sync_id=act.sync_id)
        if outcome.error is not None:
            raise RuntimeError(outcome.error)


def _mortal(death: Death) -> Boundaries:
    boundaries = Boundaries(crash=die)
    if death.boundary is not None:
        boundaries.arm(death.boundary)
    if death.seconds is not None:
        _after(death.seconds, die)
    return boundaries


def _after(seconds: float, act: Callable[[], None]) -> None:
    def wait() -> None:
        time.sleep(seconds)
        act()

    threading.Thread(target=wait, daemon=True).start()
