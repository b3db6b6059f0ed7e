"""What the tests of the connectors share: a provider, and sources that read it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from elt_assets.config.secret_refs import Secrets
from elt_assets.config.settings import load_settings
from elt_assets.connectors import catalog
from elt_assets.connectors.limits import FetchLimits
from elt_assets.connectors.source import Source
from elt_assets.sync.service import SyncService
from elt_assets_tests.connectors.serving import Provider

TOKEN = "t0ken-of-the-tests"

OpenSource = Callable[..., Source]


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as serving:
        yield serving


@pytest.fixture
def elsewhere() -> Iterator[Provider]:
    with Provider() as serving:
        yield serving


@pytest.fixture
def secrets() -> Secrets:
    return Secrets()


@pytest.fixture
def data(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """provider_data that reads `provider` by cursor; tests change what they are about."""
    monkeypatch.setenv("TEST_TOKEN", TOKEN)
    return {
        "api_endpoint": f"{provider.url}/v1",
        "auth": {"type": "bearer", "token": {"env": "TEST_TOKEN"}},
        "streams": {
            "users": {
                "path": "/users",
                "records": "data.items",
                "pagination": {"type": "cursor", "cursor": "data.next", "param": "cursor"},
                "fields": {"external_id": "id", "name": "name"},
            }
        },
    }


@pytest.fixture
def users(data: dict[str, Any], secrets: Secrets) -> Iterator[OpenSource]:
    """Opens the stream `users` of `data`, with limits that suit a test."""
    opened: list[Source] = []

    def open_users(**limits: Any) -> Source:
        chosen = {
            "attempts": 3,
            "first_wait": 0.001,
            "timeout": 10.0,
            "page_bytes": 1 << 20,
            "max_pages": 1000,
            **limits,
        }
        source = catalog.open_source(
            "rest", data, "users", secrets=secrets, limits=FetchLimits(**chosen)
        )
        opened.append(source)
        return source

    yield open_users
    for source in opened:
        source.close()


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[SyncService]:
    """A platform of its own, with limits that suit a test."""
    settings = load_settings(home=tmp_path / "home", fetch_first_wait=0.001, max_delete_share=1)
    with SyncService.open(settings) as opened:
        yield opened
