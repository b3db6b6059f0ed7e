"""SCIM against a server that we did not write, holding a few hundred users.

It pages by index and, where it is so configured, by the cursors of RFC 9865.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from socketserver import ThreadingMixIn
from typing import Any
from urllib.parse import parse_qs
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest
import urllib3

from elt_assets.config.secret_refs import Secrets
from elt_assets.connectors import catalog
from elt_assets.connectors.limits import FetchLimits
from elt_assets.connectors.source import Page, Source
from elt_assets.errors import PositionRefused, ProviderRefused
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import USERS

pytestmark = pytest.mark.slow

pytest.importorskip("scim2_server", reason="scim2-server is not installed")

TOKEN = "t0ken-of-the-tests"
USER = "urn:ietf:params:scim:schemas:core:2.0:User"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
REF = IntegrationRef("acme", "scim")
COUNT = 240


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


class _Threads(ThreadingMixIn, WSGIServer):
    daemon_threads = True


@dataclass
class Foreign:
    """The server's address, and every query of /Users that it was asked."""

    url: str
    asked: list[dict[str, str]] = field(default_factory=list)


@contextmanager
def foreign(storage: Any, pagination: dict[str, Any] | None) -> Iterator[Foreign]:
    from scim2_models import Pagination, ScimProvider
    from scim2_server.service import ScimService
    from scim2_server.testserver.application import BearerTokenApplication
    from scim2_server.utils import (
        load_default_resource_types,
        load_default_schemas,
        load_default_service_provider_config,
    )

    config = load_default_service_provider_config()
    if pagination is not None:
        config.pagination = Pagination.model_validate(pagination)
    scim = ScimProvider.from_discovery(
        load_default_schemas().values(), load_default_resource_types().values(), config=config
    )
    application = BearerTokenApplication(
        storage, scim, service=ScimService(scim, secret="of-the-tests"), bearer_tokens=[TOKEN]
    )
    found = Foreign("")

    def watched(environ: dict[str, Any], start: Any) -> Any:
        if environ["PATH_INFO"].endswith("/Users") and environ["REQUEST_METHOD"] == "GET":
            query = parse_qs(environ["QUERY_STRING"], keep_blank_values=True)
            found.asked.append({name: values[0] for name, values in query.items()})
        return application(environ, start)

    with make_server(
        "127.0.0.1", 0, watched, server_class=_Threads, handler_class=_Quiet
    ) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        found.url = f"http://127.0.0.1:{server.server_port}/v2"
        yield found
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def storage() -> Any:
    """What the server holds: users created by its own API."""
    from scim2_server.memory import InMemoryStorage

    storage = InMemoryStorage()
    with foreign(storage, None) as server, urllib3.PoolManager() as pool:
        for number in range(COUNT):
            user = {
                "schemas": [USER, ENTERPRISE],
                "userName": f"user{number}",
                "name": {"givenName": "Ada", "familyName": f"L{number}"},
                "emails": [
                    {"value": f"home{number}@example.com", "type": "home"},
                    {"value": f"work{number}@example.com", "type": "work", "primary": True},
                ],
                "userType": "Employee" if number % 4 else "Contractor",
                "active": number % 2 == 0,
                ENTERPRISE: {"department": f"Department {number % 3}"},
            }
            answer = pool.request(
                "POST",
                f"{server.url}/Users",
                body=json.dumps(user),
                headers={
                    "Authorization": f"Bearer {TOKEN}",
                    "Content-Type": "application/scim+json",
                },
            )
            assert answer.status == 201
    return storage


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCIM_TOKEN", TOKEN)


def data(url: str, **more: Any) -> dict[str, Any]:
    return {
        "api_endpoint": url,
        "auth": {"type": "bearer", "token": {"env": "SCIM_TOKEN"}},
        **more,
    }


def opened(url: str, **more: Any) -> Source:
    limits = FetchLimits(
        attempts=2, first_wait=0.001, timeout=30, page_bytes=1 << 20, max_pages=100
    )
    return catalog.open_source("scim", data(url, **more), "users", secrets=Secrets(), limits=limits)


def pages(url: str, cursor: Any = None, **more: Any) -> list[Page]:
    source = opened(url, **more)
    found = list(source.pages(cursor))
    source.close()
    return found


def users(found: list[Page]) -> list[dict[str, Any]]:
    return [user for page in found for user in json.loads(page.body).get("Resources", [])]


CURSORS = {"cursor": True, "index": True, "maxPageSize": 50}
NAMES = {f"user{number}" for number in range(COUNT)}


def test_its_index_leads_through_everybody_several_pages_at_once(storage: Any) -> None:
    with foreign(storage, None) as server:
        found = pages(server.url, count=50, rate_limit={"concurrency": 4})
    assert {user["userName"] for user in users(found)} == NAMES
    assert [page.count for page in found] == [50, 50, 50, 50, 40]
    assert {page.total for page in found} == {COUNT}
    assert all("cursor" not in query for query in server.asked)


def test_its_cursors_are_used_where_it_advertises_them_and_its_page_size_is_kept(
    storage: Any,
) -> None:
    with foreign(storage, CURSORS) as server:
        found = pages(server.url, count=200)
    assert {user["userName"] for user in users(found)} == NAMES
    assert [page.count for page in found] == [50, 50, 50, 50, 40]
    assert server.asked[0] == {"count": "50", "cursor": ""}
    assert all(query["cursor"] for query in server.asked[1:])


def test_its_cursors_continue_an_extraction_that_was_interrupted(storage: Any) -> None:
    with foreign(storage, CURSORS) as server:
        first, second, *_ = whole = pages(server.url)
        rest = pages(server.url, cursor=second.next)
    assert users([first, second, *rest]) == users(whole)


def test_a_cursor_that_it_does_not_know_is_refused_in_its_own_words(storage: Any) -> None:
    with foreign(storage, CURSORS) as server, pytest.raises(PositionRefused) as caught:
        pages(server.url, cursor={"page": 2, "at": "forged"})
    assert "invalidCursor" in str(caught.value)


@pytest.mark.parametrize("pagination", [None, CURSORS], ids=["index", "cursor"])
def test_a_filter_and_attributes_narrow_what_it_lists(storage: Any, pagination: Any) -> None:
    with foreign(storage, pagination) as server:
        found = pages(
            server.url,
            count=25,
            filter='userType eq "Contractor"',
            attributes=["userName", "emails", "active"],
        )
    listed = users(found)
    assert len(listed) == found[0].total == COUNT // 4
    assert all(set(user) <= {"schemas", "id", "userName", "emails", "active"} for user in listed)


def test_a_filter_that_it_does_not_understand_is_refused_in_its_own_words(storage: Any) -> None:
    with foreign(storage, None) as server, pytest.raises(ProviderRefused, match="invalidFilter"):
        pages(server.url, filter="userType is Contractor")


@pytest.mark.parametrize("pagination", [None, CURSORS], ids=["index", "cursor"])
def test_what_it_holds_is_what_is_synced(
    storage: Any, pagination: Any, platform: SyncService
) -> None:
    with foreign(storage, pagination) as server:
        platform.registry.add(
            REF,
            "scim",
            data(server.url, count=50, fields={"department": f'"{ENTERPRISE}".department'}),
        )
        (outcome,) = platform.sync(USERS, [REF], sync_id="one")
    assert (outcome.status, outcome.counts.inserts) == ("applied", COUNT)
    assert outcome.certificate.complete
    assert outcome.certificate.declared_total == COUNT
    assert {
        (user["name"], user["email"], user["active"], user["attributes"]["department"])
        for user in platform.records(USERS, REF)
    } == {
        (f"Ada L{n}", f"work{n}@example.com", n % 2 == 0, f"Department {n % 3}")
        for n in range(COUNT)
    }
