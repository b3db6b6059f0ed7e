"""An installation that reads a hostile server over real HTTP into real stores."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from elt_assets.config.settings import load_settings
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.outcome import Outcome
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import USERS
from elt_assets_tests.connectors.serving import Asked, Provider, Reply

SECRET = "hostile-suite-s3cr3t-7f1e"
NEIGHBOUR = IntegrationRef("neighbour", "main")
FIELDS = {
    "external_id": "id",
    "name": "name",
    "email": "profile.email",
    "active": 'status == "ACTIVE"',
    "team": "team",
}


def page(records: Sequence[object]) -> bytes:
    """A last page of these records."""
    return json.dumps({"items": list(records), "next": None}).encode()


def person(number: int, **changes: object) -> dict[str, Any]:
    return {
        "id": f"u-{number:04}",
        "name": f"Person {number}",
        "profile": {"email": f"p{number}@example.com"},
        "status": "ACTIVE",
        "team": "blue",
        **changes,
    }


class Installation:
    """A platform whose every integration reads `server`, path by path."""

    def __init__(self, home: Path, server: Provider) -> None:
        self.home = home
        self.bodies: dict[str, bytes] = {}
        self._server = server
        self._numbers = count(1)
        server.answer = self._answer
        self.platform = SyncService.open(
            load_settings(home=home, fetch_attempts=2, fetch_first_wait=0, max_reject_share=0.5)
        )

    def connect(self, body: bytes, ref: IntegrationRef | None = None, **stream: Any) -> Any:
        """A new integration that lists `body`; returns its name."""
        ref = ref or IntegrationRef("acme", f"source-{next(self._numbers):05}")
        self.bodies[str(ref)] = body
        described = {
            "path": f"/{ref}",
            "records": "items",
            "pagination": {"type": "cursor", "cursor": "next", "param": "cursor"},
            "fields": FIELDS,
        }
        self.platform.registry.add(
            ref,
            "rest",
            {
                "api_endpoint": self._server.url,
                "auth": {"type": "bearer", "token": {"env": "HOSTILE_SECRET"}},
                "streams": {"users": described | stream},
            },
        )
        return ref

    def sync(self, ref: IntegrationRef, sync_id: str = "s1") -> Outcome:
        (outcome,) = self.platform.sync(USERS, [ref], sync_id=sync_id)
        assert "unexpected error" not in (outcome.error or ""), outcome.error
        return outcome

    def users(self, ref: IntegrationRef) -> dict[str, dict[str, Any]]:
        return {row["external_id"]: row for row in self.platform.records(USERS, ref)}

    def _answer(self, asked: Asked) -> Reply:
        body = self.bodies[asked.path.removeprefix("/")]
        return Reply(body, headers={"Content-Type": "application/json"})


@contextmanager
def installed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    """An installation with a neighbour whom nothing hostile may reach."""
    monkeypatch.setenv("HOSTILE_SECRET", SECRET)
    with Provider() as server:
        made = Installation(folder / "home", server)
        try:
            made.connect(page([person(number) for number in range(5)]), NEIGHBOUR)
            made.sync(NEIGHBOUR)
            before = made.users(NEIGHBOUR)
            yield made
            assert made.users(NEIGHBOUR) == before
        finally:
            made.platform.close()
