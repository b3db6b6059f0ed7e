"""The people of a foreign directory while it is read, and the effect of a sync on them.

The module makes changes between pages, records the truth about them, and defines what counts as
harm.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from elt_assets_tests.foreign.running import Directory


@dataclass
class World:
    """People of a directory, some of whom leave, join and change whenever a page was read."""

    directory: Directory
    dice: random.Random
    here: set[str] = field(default_factory=set)
    moving: bool = False
    pages: int = 0
    left: int = 0
    joined: int = 0
    changed: int = 0
    _number: int = 0

    def populate(self, count: int) -> None:
        """Let so many join."""
        for _ in range(count):
            self._join()

    def after_page(self) -> None:
        """A page was read, and is not delivered yet."""
        self.pages += 1
        if not self.moving:
            return
        if self.dice.random() < 0.6:
            key = self._anybody()
            self.directory.leave(key)
            self.here.remove(key)
            self.left += 1
        if self.dice.random() < 0.6:
            self._join()
            self.joined += 1
        if self.dice.random() < 0.4:
            key = self._anybody()
            self.directory.change(key, f"Another name {self.pages}")
            self.changed += 1

    def _anybody(self) -> str:
        """One of those who joined; those who were there before run the server."""
        return self.dice.choice(sorted(self.here - self.directory.everybody()))

    def _join(self) -> None:
        self._number += 1
        self.here.add(self.directory.join(self._number))


@dataclass
class Harm:
    """What syncs did to people who were there all the time."""

    deleted: list[str] = field(default_factory=list)
    deactivated: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    """Never inserted, in a sync that said nothing of it."""
    missing_with_reason: int = 0

    def judge(
        self,
        stayed: set[str],
        before: Mapping[str, Mapping[str, Any]],
        after: Mapping[str, Mapping[str, Any]],
        *,
        said: bool,
    ) -> None:
        """Look at one sync: `stayed` were there throughout; `said` if it named a reason."""
        self.deleted += sorted(stayed & before.keys() - after.keys())
        self.deactivated += sorted(
            key for key in stayed & after.keys() if after[key]["active"] is False
        )
        missing = stayed - before.keys() - after.keys()
        if said:
            self.missing_with_reason += len(missing)
        else:
            self.missing += sorted(missing)
