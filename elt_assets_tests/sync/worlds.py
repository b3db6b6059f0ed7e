"""Small builders for engine tests: a provider held in memory and a platform that reads it.

Tests over HTTP are the connectors' and the end-to-end tests, which use real servers.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from elt_assets.config.secret_refs import Secrets
from elt_assets.config.settings import Settings, load_settings
from elt_assets.connectors.limits import FetchLimits
from elt_assets.connectors.mapping.expressions import Comparison
from elt_assets.connectors.mapping.expressions import Path as FieldPath
from elt_assets.connectors.source import Cursor, FieldMap, Incremental, Page, Presence
from elt_assets.errors import MarkRefused, PositionRefused
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.outcome import Outcome
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import USERS

ACME = IntegrationRef("acme", "main")

FIELDS: FieldMap = {
    "external_id": FieldPath(("id",)),
    "name": FieldPath(("name",)),
    "email": FieldPath(("email",)),
    "active": Comparison(FieldPath(("status",)), "ACTIVE"),
    "source_updated_at": FieldPath(("updated",)),
    "team": FieldPath(("team",)),
    "deleted": Comparison(FieldPath(("status",)), "DELETED"),
}

PROVIDER_DATA = {
    "permission_source_name": "In memory",
    "api_endpoint": "http://127.0.0.1:9/",
    "auth": {"type": "bearer", "token": {"env": "ELT_ASSETS_TEST_TOKEN"}},
    "streams": {
        "users": {
            "path": "/users",
            "records": "items",
            "pagination": {"type": "cursor", "cursor": "next", "param": "cursor"},
            "fields": {"external_id": "id", "name": "name", "email": "email"},
            "snapshot": True,
        }
    },
}


_PASTS: dict[Callable[..., None], tuple[TemporaryDirectory[str], dict[str, Any]]] = {}

# A trigger that refuses, by whether that is on PostgreSQL.
_BROKEN = {
    False: [
        "CREATE TRIGGER broken BEFORE INSERT ON users_latest BEGIN SELECT RAISE(ABORT, 'no'); END"
    ],
    True: [
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN RAISE EXCEPTION ''no''; END'",
        "CREATE TRIGGER broken BEFORE INSERT ON users_latest EXECUTE FUNCTION refuse()",
    ],
}


def person(number: int, **changes: Any) -> dict[str, Any]:
    """A valid record."""
    return {
        "id": f"u-{number:04}",
        "name": f"Person {number}",
        "email": f"p{number}@example.com",
        "status": "ACTIVE",
        "team": "blue",
        **changes,
    }


def people(count: int) -> list[dict[str, Any]]:
    """`count` valid records."""
    return [person(number) for number in range(count)]


@dataclass
class World:
    """What one integration's provider holds, and how it behaves.

    `fail_at` raises its error when that page is asked for; `served` lists the positions of
    all pages that were handed out; `on_page` is called before each page. `alive` is what it
    answers about single records, None when it cannot be asked. It gives `doubts` with its last
    page, refuses the position of the second page `refuse_positions` times and every
    `mark` that it gave with a last page if `refuses_marks`, and counts in `otherwise` how often it
    was to list in another way.
    """

    records: list[Any] = field(default_factory=list)
    page_size: int = 10
    total: int | None = None
    cut_short: str | None = None
    bare_end: bool = False
    endless: bool = False
    fail_at: dict[int, Exception] = field(default_factory=dict)
    served: list[int] = field(default_factory=list)
    incremental: Incremental | None = None
    asked_since: list[str | None] = field(default_factory=list)
    resumable: bool = True
    snapshot: bool = True
    alive: dict[str, Presence] | None = None
    on_page: Callable[[int], None] = lambda _: None
    doubts: tuple[str, ...] = ()
    mark: str | None = None
    refuses_marks: bool = False
    refuse_positions: int = 0
    otherwise: int = 0

    def page(self, number: int, since: str | None = None) -> Page:
        self.on_page(number)
        if number == 1 and self.refuse_positions:
            self.refuse_positions -= 1
            raise PositionRefused("the provider no longer takes the position of page 2")
        if since is not None and self.refuses_marks:
            raise MarkRefused("the provider is another one than before")
        if number in self.fail_at:
            raise self.fail_at[number]
        start = number * self.page_size
        self.asked_since.append(since)
        listed = [r for r in self.records if since is None or r.get("updated", "") > since]
        chunk = listed[start : start + self.page_size]
        last = start + self.page_size >= len(listed) and not self.endless
        self.served.append(number)
        return Page(
            body=msgspec.json.encode({"items": chunk}),
            count=len(chunk),
            next=None if last else {"page": number + 1},
            total=self.total,
            cut_short=self.cut_short if last else None,
            doubts=self.doubts if last else (),
            bare_end=self.bare_end and last,
            mark=self.mark if last else None,
        )


@dataclass
class WorldSource:
    """A `Source` over a `World`."""

    world: World
    fields: FieldMap = field(default_factory=lambda: FIELDS)
    records: tuple[str, ...] = ("items",)
    requests: int = 0

    @property
    def incremental(self) -> Incremental | None:
        return self.world.incremental

    @property
    def resumable(self) -> bool:
        return self.world.resumable

    @property
    def snapshot(self) -> bool:
        return self.world.snapshot

    @property
    def waits_for_provider(self) -> bool:
        return True

    @property
    def probes(self) -> bool:
        return self.world.alive is not None

    def probe(self, missing: Sequence[str], listed: Sequence[str]) -> Mapping[str, Presence]:
        alive = self.world.alive or {}
        self.requests += 1 + len(missing)
        return {key: alive.get(key, Presence.GONE) for key in missing}

    def otherwise(self) -> None:
        self.world.otherwise += 1

    def pages(self, cursor: Cursor | None, since: str | None = None) -> Iterator[Page]:
        number = 0 if cursor is None else cursor["page"]
        while True:
            page = self.world.page(number, since)
            self.requests += 1
            yield page
            if page.next is None:
                return
            number += 1

    def close(self) -> None:
        return


class Company:
    """A platform whose integrations read worlds held in memory."""

    def __init__(self, home: Path, **settings: object) -> None:
        self.worlds: dict[str, World] = {}
        self.fields = FIELDS
        self._open(load_settings(home=home, **{"lock_wait": 0.3} | settings))

    def _open(self, settings: Settings) -> None:
        self.platform = SyncService.open(settings, open_source=self._open_source)

    def live_through(self, past: Callable[[Company], None]) -> Company:
        """Call `past` in an empty installation, or copy what it left in another of this process."""
        settings = self.platform.settings
        if settings.operational_url is not None:
            past(self)
            return self
        if past not in _PASTS:
            past(self)
            self.platform.close()
            kept = TemporaryDirectory(prefix="past-")
            shutil.copytree(settings.home, kept.name, dirs_exist_ok=True)
            _PASTS[past] = kept, deepcopy(self.worlds)
        else:
            self.platform.close()
            shutil.rmtree(settings.home)
            kept, worlds = _PASTS[past]
            shutil.copytree(kept.name, settings.home)
            self.worlds = deepcopy(worlds)
        self._open(settings)
        return self

    def connect(self, ref: IntegrationRef = ACME, world: World | None = None) -> World:
        """Register `ref` and return its world."""
        world = world or World()
        self.worlds[ref.partition_key] = world
        self.platform.registry.add(
            ref, "rest", PROVIDER_DATA | {"permission_source_name": ref.partition_key}
        )
        return world

    def sync(self, ref: IntegrationRef = ACME, sync_id: str = "s1", **options: Any) -> Outcome:
        """Sync one integration and return its outcome."""
        (outcome,) = self.platform.sync(USERS, [ref], sync_id=sync_id, **options)
        return outcome

    def configure(self, ref: IntegrationRef = ACME, **changes: Any) -> None:
        """Change parts of the integration's provider_data."""
        registered = self.platform.registry.get(ref)
        self.platform.registry.update(ref, registered.provider_data | changes)

    def stored(self, table: str) -> str:
        """Where the records of `table` are, past all views, to be damaged by a statement."""
        on_a_lake = self.platform.settings.warehouse_url is not None
        return f"lake.{table}" if on_a_lake else table

    def break_inserts(self) -> None:
        """Let every insert into the latest table fail, until they are mended."""
        for statement in _BROKEN[self.platform.settings.operational_url is not None]:
            with self.platform.database.transaction() as transaction:
                transaction.execute(statement)

    def mend_inserts(self) -> None:
        on = " ON users_latest" * (self.platform.settings.operational_url is not None)
        with self.platform.database.transaction() as transaction:
            transaction.execute(f"DROP TRIGGER broken{on}")

    def map_from(self, name: str, *path: str | int) -> None:
        """Correct the configuration: the field `name` stands at `path` now."""
        self.fields = self.fields | {name: FieldPath(path)}

    def users(self, ref: IntegrationRef = ACME) -> dict[str, dict[str, Any]]:
        """The latest rows by external id, without platform columns."""
        return {
            row["external_id"]: {
                name: row[name] for name in ("name", "email", "active", "attributes")
            }
            for row in self.platform.records(USERS, ref)
        }

    def changes(
        self, ref: IntegrationRef = ACME, sync_id: str | None = None
    ) -> list[tuple[str, str]]:
        """(type, key) of the applied changes, in key order within a sync."""
        return [
            (change["change_type"], change["external_id"])
            for change in sorted(
                self.platform.changes(USERS, ref, sync_id),
                key=lambda change: (change["sync_id"], change["external_id"]),
            )
        ]

    def _open_source(
        self,
        provider: str,
        provider_data: Mapping[str, Any],
        stream: str,
        *,
        secrets: Secrets,
        limits: FetchLimits,
        ref: IntegrationRef,
    ) -> WorldSource:
        return WorldSource(self.worlds[provider_data["permission_source_name"]], self.fields)


def expected(records: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What the latest table must hold for these provider records."""
    return {
        record["id"]: {
            # An empty text is no value.
            "name": record["name"] or None,
            "email": record["email"] or None,
            "active": record["status"] == "ACTIVE",
            "attributes": {"team": record["team"]},
        }
        for record in records
    }
