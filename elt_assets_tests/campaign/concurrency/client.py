"""A process that shares an installation with others and records its operations and results.

It runs a seeded series of operations on a few integrations and notes the times of each one. The
notes are judged in `campaign`.
"""

from __future__ import annotations

import fcntl
import logging
import os
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from elt_assets.config.secret_refs import Secrets
from elt_assets.connectors.limits import FetchLimits
from elt_assets.errors import EltAssetsError, NotFound
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.service import SyncService
from elt_assets.sync.state import versions
from elt_assets.sync.streams import USERS, StreamKey
from elt_assets_tests.campaign.histories import History, Telling
from elt_assets_tests.campaign.state import installation

ACTS = {
    "sync": 10,
    "read": 5,
    "changes": 3,
    "approve": 2,
    "undo": 2,
    "rebuild": 1,
    "disable": 1,
    "enable": 2,
    "remove": 1,
    "a new day": 3,
}
SYNC_IDS = 12


class Note(msgspec.Struct):
    """One operation: when, on what, and what came of it.

    `epoch` is the registration it belongs to, empty when that changed meanwhile; `versions`
    are those of the latest table before and after; `seen` is what was read.
    """

    act: str
    partition: str
    begun: float
    ended: float = 0.0
    epoch: str = ""
    sync_id: str = ""
    status: str = ""
    version: int | None = None
    versions: tuple[int, int] = (0, 0)
    seen: list[tuple[str, str]] = []
    error: str = ""


@dataclass
class Shared:
    """What all clients share: the installation, and files that say what day it is."""

    home: Path
    histories: list[History]

    @property
    def notes(self) -> Path:
        return self.home.with_name(self.home.name + ".notes")

    @property
    def listings(self) -> Path:
        return self.home.with_name(self.home.name + ".listings")

    def day(self, history: History) -> int:
        file = self._day_file(history)
        # Another client may just have made it, and not yet said which day it is.
        return int(file.read_text() or 0) if file.exists() else 0

    def next_day(self, history: History) -> None:
        """Let the provider's world move on; it never goes back."""
        with self._day_file(history).open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            day = int(file.read() or 0)
            if day < len(history.days) - 1:
                following = self._day_file(history).with_suffix(".next")
                following.write_text(str(day + 1))
                following.rename(self._day_file(history))

    def platform(self, lock_wait: float = 5) -> SyncService:
        """The installation, reading each provider as it is on its day."""
        settings = installation(self.home, lock_wait=lock_wait)
        return SyncService.open(settings, open_source=self._open_source)

    def note(self, file: Path, line: object) -> None:
        """Append one line, whole, whoever else is writing."""
        descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, msgspec.json.encode(line) + b"\n")
        os.close(descriptor)

    def _day_file(self, history: History) -> Path:
        return self.home.with_name(f"{self.home.name}.{history.ref.integration_id}.day")

    def _open_source(
        self,
        provider: str,
        provider_data: Mapping[str, Any],
        stream: str,
        *,
        secrets: Secrets,
        limits: FetchLimits,
        ref: IntegrationRef,
    ) -> Telling:
        (history,) = [history for history in self.histories if history.ref == ref]
        day = self.day(history)

        def on_page(_: int) -> None:
            self.note(self.listings, (ref.partition_key, day))

        return Telling(history, history.days[day], on_page)


def live(shared: Shared, seed: int, operations: int) -> None:
    """The life of a client."""
    dice = random.Random(seed)
    # What goes wrong here is noted.
    logging.disable(logging.CRITICAL)
    with shared.platform() as platform:
        for _ in range(operations):
            history = dice.choice(shared.histories)
            (act,) = dice.choices([*ACTS], [*ACTS.values()])
            note = Note(act, history.ref.partition_key, time.monotonic())
            before = _epoch(platform, history.ref)
            try:
                _do(platform, shared, history, note, dice)
            except EltAssetsError as error:
                note.status, note.error = "refused", f"{type(error).__name__}: {error}"
            note.ended = time.monotonic()
            if before == _epoch(platform, history.ref):
                note.epoch = before
            shared.note(shared.notes, note)
    os._exit(0)


def _do(
    platform: SyncService, shared: Shared, history: History, note: Note, dice: random.Random
) -> None:
    ref = history.ref
    sync_id = f"sync-{dice.randrange(SYNC_IDS)}"
    if note.act == "sync":
        for outcome in platform.sync(
            USERS, [ref], sync_id=sync_id, pages_per_batch=history.pages_per_batch
        ):
            _settled(note, outcome)
    elif note.act == "read":
        first = versions.current(platform.database, StreamKey(USERS, ref)).version
        note.seen = sorted(
            (row["external_id"], row["content_hash"]) for row in platform.records(USERS, ref)
        )
        note.versions = (first, versions.current(platform.database, StreamKey(USERS, ref)).version)
    elif note.act == "changes":
        platform.changes(USERS, ref)
    elif note.act == "approve":
        for outcome in platform.approve(ref, "somebody"):
            _settled(note, outcome)
    elif note.act == "undo":
        _settled(note, platform.undo(USERS, ref, sync_id, force=dice.random() < 0.5))
    elif note.act == "rebuild":
        platform.rebuild(USERS, ref)
    elif note.act in ("disable", "enable"):
        platform.registry.set_enabled(ref, note.act == "enable")
    elif note.act == "remove":
        platform.remove(ref)
        platform.registry.add(ref, "rest", history.provider_data(), if_absent=True)
    else:
        shared.next_day(history)


def _settled(note: Note, outcome: Any) -> None:
    note.sync_id, note.status = outcome.sync_id, str(outcome.status)
    note.error = outcome.error or ""
    if outcome.status.settled and not outcome.recorded:
        note.version = outcome.version


def _epoch(platform: SyncService, ref: IntegrationRef) -> str:
    try:
        return platform.registry.get(ref).created_at
    except NotFound:
        return ""
