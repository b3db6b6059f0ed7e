"""Streams that are read a period at a time: sign-in events of a day."""

from __future__ import annotations

from typing import Any

import pytest

from elt_assets.config.secret_refs import Secrets
from elt_assets.connectors import catalog
from elt_assets.connectors.limits import FetchLimits
from elt_assets.errors import InvalidInput
from elt_assets.identifiers import IntegrationRef
from elt_assets_tests.connectors.serving import Provider, listing

LIMITS = FetchLimits(attempts=1, first_wait=0, timeout=5, page_bytes=2**20, max_pages=10)
PARAMS = {"filter": "at ge {from} and at lt {to}", "org": "{organization_id}"}


def provider_data(url: str = "http://127.0.0.1:9", **changes: Any) -> dict[str, Any]:
    """A provider with events; `changes` replace parts of the stream."""
    stream = {
        "path": "/events",
        "params": PARAMS,
        "records": "data.items",
        "pagination": {"type": "cursor", "cursor": "data.next", "param": "cursor"},
        "fields": {"event_id": "id", "occurred_at": "at"},
    }
    return {"api_endpoint": url, "streams": {"signin_events": stream | changes}}


def test_every_page_of_a_period_is_asked_for_with_its_ends() -> None:
    with Provider(listing([[{"id": 1}], [{"id": 2}]])) as provider:
        source = catalog.open_period(
            "rest",
            provider_data(provider.url),
            "signin_events",
            begin="2026-01-05T00:00:00Z",
            end="2026-01-06T00:00:00Z",
            secrets=Secrets(),
            limits=LIMITS,
            ref=IntegrationRef("acme", "main"),
        )
        pages = list(source.pages(None))
        source.close()
    assert [page.count for page in pages] == [1, 1]
    assert [asked.query["filter"] for asked in provider.asked] == [
        "at ge 2026-01-05T00:00:00Z and at lt 2026-01-06T00:00:00Z"
    ] * 2
    assert provider.asked[0].query["org"] == "acme"


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (provider_data(params={"since": "{from}"}), "must both be there"),
        (provider_data(fields={"external_id": "id"}), "has no event_id"),
        (provider_data(parent={}), "no {parent}"),
        (
            {
                "api_endpoint": "http://127.0.0.1:9",
                "streams": {
                    "users": {
                        "path": "/users",
                        "params": {"since": "{from}"},
                        "pagination": {"type": "none"},
                        "fields": {"external_id": "id"},
                    }
                },
            },
            "{from} is known only in streams that are read a day at a time",
        ),
    ],
)
def test_a_stream_that_cannot_be_read_by_period_is_refused(
    data: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(InvalidInput, match=complaint.replace("{", r"\{")):
        catalog.validate("rest", data)


def test_a_provider_without_periods_says_so() -> None:
    data = {
        "directory": "/x",
        "streams": {"signin_events": {"path": "e.csv", "fields": {"event_id": "id"}}},
    }
    with pytest.raises(InvalidInput, match="cannot read signin_events for one period"):
        catalog.open_period(
            "files",
            data,
            "signin_events",
            begin="",
            end="",
            secrets=Secrets(),
            limits=LIMITS,
            ref=IntegrationRef("acme", "main"),
        )


def test_an_event_may_be_known_by_two_fields_together_and_a_user_may_not() -> None:
    catalog.validate("rest", provider_data(fields={"event_id": "at + ' ' + id"}))
    users = {
        "path": "/users",
        "pagination": {"type": "none"},
        "fields": {"external_id": "at + ' ' + id"},
    }
    data = {"api_endpoint": "http://127.0.0.1:9", "streams": {"users": users}}
    with pytest.raises(InvalidInput, match="give the path of the record's id"):
        catalog.validate("rest", data)
