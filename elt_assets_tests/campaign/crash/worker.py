"""The process that does a piece of work and may die in it.

It runs one step of a history through a platform whose stores count moments.
"""

from __future__ import annotations

import logging
import os
import resource
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from elt_assets.config.secret_refs import Secrets
from elt_assets.connectors.limits import FetchLimits
from elt_assets.errors import InvalidInput
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.from_settings import operational_database, warehouses
from elt_assets.sync.extract import workplace
from elt_assets.sync.outcome import Mode, Outcome
from elt_assets.sync.service import SyncService
from elt_assets.sync.state.store_tables import warehouse_layout
from elt_assets.sync.streams import USERS
from elt_assets_tests.campaign.crash.moments import (
    Death,
    Moments,
    watched,
    watched_warehouses,
)
from elt_assets_tests.campaign.histories import FIELDS, MENDED, History, Step, Telling
from elt_assets_tests.campaign.state import installation

BY = "the campaign"
_LONGEST = 5.0
"""Seconds that a page waits for the sync that wants it."""


def open_platform(home: Path, history: History, step: Step, moments: Moments) -> SyncService:
    """An installation that reads the step's day; each page served is noted next to it."""
    settings = installation(home, lock_wait=20)
    database = watched(operational_database(settings), moments)
    records = watched_warehouses(warehouses(settings, warehouse_layout()), moments)

    slow = history.slow and settings.warehouse_url is None
    # A sync that waits leaves at once, or never.
    workplace._GRACE = 0.0 if slow else 60.0

    def on_page(number: int) -> None:
        if slow:
            # Not for ever: a sync that fails never detaches its file again.
            moments.detached.wait(_LONGEST)
        moments.reach("before a page")
        with served_file(home).open("a") as served:
            served.write(f"{number}\n")

    def open_source(
        provider: str,
        provider_data: Mapping[str, Any],
        stream: str,
        *,
        secrets: Secrets,
        limits: FetchLimits,
        ref: IntegrationRef,
    ) -> Telling:
        fields = MENDED if step.act == "retry" else FIELDS
        return Telling(history, history.days[step.day], on_page, fields)

    return SyncService(settings, database, records, open_source)


def take(platform: SyncService, history: History, step: Step) -> Outcome | None:
    """Take one step; None where there was nothing to do."""
    platform.registry.add(history.ref, "rest", history.provider_data(), if_absent=True)
    if step.act == "sync":
        (outcome,) = platform.sync(
            USERS,
            [history.ref],
            sync_id=step.sync_id,
            mode=Mode.FULL if step.full else None,
            pages_per_batch=history.pages_per_batch,
        )
        return outcome
    try:
        if step.act == "retry":
            return _map_again(platform, history, step)
        if step.act == "approve":
            (outcome,) = platform.approve(history.ref, BY)
            return outcome
        if step.act == "undo":
            return platform.undo(USERS, history.ref, step.sync_id)
        platform.rebuild(USERS, history.ref)
    except InvalidInput:
        # Nothing waits, or the sync changed nothing: what the history expects is compared.
        return None
    return None


def _map_again(platform: SyncService, history: History, step: Step) -> Outcome | None:
    """Map the rejected records again, unless this step has done so: each time is another sync."""
    done = [row for row in platform.syncs(history.ref) if row.again_of == step.sync_id]
    if any(row.status.settled for row in done):
        return None
    return platform.retry_rejected(USERS, history.ref)


def work(
    home: Path, history: History, step: Step, fatal: int | None = None, death: Death = "SIGKILL"
) -> None:
    """The whole life of a worker process, over at moment number `fatal`."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # What goes wrong here is meant to; the outcome tells it once more.
    logging.disable(logging.CRITICAL)
    if death == "SIGTERM":
        signal.signal(signal.SIGTERM, _leave)
    with open_platform(home, history, step, Moments(fatal, death)) as platform:
        outcome = take(platform, history, step)
    if outcome is not None and outcome.error:
        print(outcome.error, file=sys.stderr)
    # Nothing of the parent's is left to be cleaned up here.
    sys.stderr.flush()
    os._exit(3 if outcome is not None and not outcome.status.settled else 0)


def served_file(home: Path) -> Path:
    """Where the pages that were served are noted, one number a line."""
    return home.with_name(home.name + ".served")


def _leave(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)
