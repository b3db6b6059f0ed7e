"""Connections out: the address that was checked is the one connected to."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from elt_assets.config.egress import Egress
from elt_assets.config.secret_refs import Secrets
from elt_assets.connectors import catalog
from elt_assets.connectors.http.outgoing import Outgoing
from elt_assets.connectors.limits import FetchLimits
from elt_assets.connectors.source import Source
from elt_assets.errors import ProviderRefused, SyncError
from elt_assets.identifiers import IntegrationRef
from elt_assets_tests.connectors.directories import (
    SECRET,
    Tokens,
    directory,
    directory_data,
    people,
)
from elt_assets_tests.connectors.serving import Provider

LIMITS = FetchLimits(attempts=1, first_wait=0, timeout=10, page_bytes=1 << 20, max_pages=10)


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_SECRET", SECRET)


@contextmanager
def opened(data: dict[str, Any], policy: str, organization: str = "acme") -> Iterator[Source]:
    source = catalog.open_source(
        "rest",
        data,
        "users",
        ref=IntegrationRef(organization, "main"),
        secrets=Secrets(),
        limits=replace(LIMITS, outgoing=Outgoing(Egress.parse(policy))),
    )
    try:
        yield source
    finally:
        source.close()


def count(source: Source) -> int:
    return sum(page.count for page in source.pages(None))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1"])
def test_no_name_of_this_machine_is_reached(provider: Provider, host: str) -> None:
    data = directory_data("cursor", "bearer", provider.url) | {"allow_plain_http": True}
    data["api_endpoint"] = data["api_endpoint"].replace("127.0.0.1", host)
    with (
        opened(data, "public") as source,
        pytest.raises(ProviderRefused, match=r"leads to (127\.0\.0\.1|::1), which ELT"),
    ):
        count(source)
    assert provider.asked == []


def test_a_network_opened_to_one_organization_is_closed_to_another(provider: Provider) -> None:
    provider.answer = directory(people(3), "cursor", "bearer", provider.url)
    data = directory_data("cursor", "bearer", provider.url)
    with opened(data, "public,acme=127.0.0.0/8") as source:
        assert count(source) == 3
    with opened(data, "public,acme=127.0.0.0/8", "globex") as source, pytest.raises(SyncError):
        count(source)


def test_a_name_that_changes_after_the_check_changes_nothing(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: the name is open when it is looked up first, and internal from then on."""
    answers = iter(["127.0.0.1"])
    looked_up: list[str] = []

    def rebinding(host: str, port: int, *_: object, **__: object) -> list[Any]:
        looked_up.append(host)
        address = next(answers, "127.0.0.2")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    provider.answer = directory(people(3), "cursor", "bearer", provider.url)
    data = directory_data("cursor", "bearer", provider.url) | {"allow_plain_http": True}
    data["api_endpoint"] = data["api_endpoint"].replace("127.0.0.1", "rebinding.example")
    with opened(data, "127.0.0.1/32") as source:
        assert count(source) == 3
    assert looked_up == ["rebinding.example"]
    with (
        opened(data, "127.0.0.1/32") as source,
        pytest.raises(ProviderRefused, match=r"rebinding\.example leads to 127\.0\.0\.2"),
    ):
        count(source)


def test_a_token_endpoint_is_held_to_the_same_policy(provider: Provider) -> None:
    tokens = Tokens()
    provider.answer = directory(
        people(3), "cursor", "oauth2_client_credentials", provider.url, tokens=tokens
    )
    data = directory_data("cursor", "oauth2_client_credentials", provider.url)
    with (
        opened(data, "public") as source,
        pytest.raises(ProviderRefused, match="ELT_ASSETS_EGRESS"),
    ):
        count(source)
    assert provider.asked == []
