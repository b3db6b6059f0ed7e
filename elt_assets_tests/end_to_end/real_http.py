"""An installation that reads the embedded provider, or a test's own server, over real HTTP.

The module sets up both and reads what a user would see. Dagster and the command line have tests of
their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from elt_assets.config.settings import load_settings
from elt_assets.demo.layout import DemoLayout
from elt_assets.demo.process import ProviderProcess
from elt_assets.demo.registration import provider_data
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.outcome import Outcome
from elt_assets.sync.service import SyncService
from elt_assets.sync.state.store_tables import OPERATIONAL_TABLES
from elt_assets.sync.streams import USERS

TOKEN_VARIABLE = "END_TO_END_TOKEN"
SEEN = ("external_id", "name", "email", "active", "attributes")


class Installation:
    """A platform in a home of its own, and a provider."""

    def __init__(self, provider: ProviderProcess, home: Path, **settings: object) -> None:
        self.provider = provider
        self.platform = SyncService.open(
            load_settings(home=home, fetch_attempts=2, fetch_first_wait=0, **settings)
        )

    def connect(self, *refs: IntegrationRef, **changes: Any) -> None:
        """Register integrations that the provider serves; `changes` replace provider_data."""
        for ref in refs:
            self.platform.registry.add(ref, "rest", self.data(ref) | changes)

    def data(self, ref: IntegrationRef) -> dict[str, Any]:
        """provider_data that reads `ref` from the provider."""
        return provider_data(self.provider.url, ref, {"env": TOKEN_VARIABLE}, single=True)

    def sync(
        self, *refs: IntegrationRef, sync_id: str = "s1", **options: Any
    ) -> dict[IntegrationRef, Outcome]:
        """Sync integrations together; each one's outcome."""
        outcomes = self.platform.sync(USERS, refs, sync_id=sync_id, **options)
        return {IntegrationRef.parse(outcome.partition): outcome for outcome in outcomes}

    def users(self, ref: IntegrationRef) -> list[dict[str, Any]]:
        """The latest rows as the provider's truth tells them."""
        return [{name: row[name] for name in SEEN} for row in self.platform.records(USERS, ref)]

    def contents(self, refs: Iterable[IntegrationRef]) -> dict[str, list[Any]]:
        """Every row of every table of both stores, and of the warehouse's views."""
        found: dict[str, list[Any]] = {
            table: self.platform.database.rows(f"SELECT * FROM {table}")
            for table in OPERATIONAL_TABLES
        }
        for ref in refs:
            with self.platform.warehouses.open(ref, read_only=True) as connection:
                for (name,) in connection.execute("SHOW TABLES").fetchall():
                    rows = connection.execute(f"SELECT * FROM {name} ORDER BY ALL").fetchall()
                    found[f"{ref} {name}"] = rows
        return found


@contextmanager
def serving(layout: DemoLayout, monkeypatch: pytest.MonkeyPatch) -> Iterator[ProviderProcess]:
    """A running provider whose token is in the environment."""
    with ProviderProcess(layout) as provider:
        monkeypatch.setenv(TOKEN_VARIABLE, provider.token)
        yield provider


@contextmanager
def installed(provider: ProviderProcess, home: Path, **settings: object) -> Iterator[Installation]:
    """An installation that is closed at the end."""
    installation = Installation(provider, home, **settings)
    try:
        yield installation
    finally:
        installation.platform.close()
