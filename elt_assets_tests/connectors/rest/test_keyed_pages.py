"""Pages that hold each record under its key instead of in a list."""

from __future__ import annotations

import json
from typing import Any

import pytest

from elt_assets.connectors import catalog
from elt_assets.connectors.source import Page, Presence
from elt_assets.errors import InvalidInput, PageUnreadable
from elt_assets_tests.connectors.conftest import OpenSource
from elt_assets_tests.connectors.serving import Asked, Provider, Reply, as_json

PEOPLE = {f"ada{number}": {"id": f"ada{number}", "name": "Ada"} for number in range(5)}


@pytest.fixture
def keyed(data: dict[str, Any], provider: Provider) -> dict[str, Any]:
    """Pages of two people; where nobody is left, PHP sends a list."""
    data["streams"]["users"] |= {
        "records": "data.users",
        "keyed": True,
        "pagination": {"type": "offset", "size": 2},
        "single": {"path": "/users/{external_id}", "record": "data"},
    }

    def answer(asked: Asked) -> Reply:
        if asked.path != "/v1/users":
            found = PEOPLE.get(asked.path.rpartition("/")[2])
            return as_json({"data": found} if found else {"error": "gone"}, 200 if found else 404)
        start = int(asked.query["offset"])
        shown = dict([*PEOPLE.items()][start : start + 2])
        return as_json({"data": {"users": shown or []}})

    provider.answer = answer
    return data


def listed(pages: list[Page]) -> list[str]:
    found = [one["id"] for page in pages for one in json.loads(page.body)["data"]["users"]]
    assert len(found) == sum(page.count for page in pages)
    return found


@pytest.mark.usefixtures("keyed")
def test_each_value_is_a_record_and_a_listing_goes_on_from_every_page(users: OpenSource) -> None:
    pages = list(users().pages(None))
    assert listed(pages) == [*PEOPLE]
    for at, page in enumerate(pages[:-1]):
        rest = list(users().pages(json.loads(json.dumps(page.next))))
        assert listed(rest) == listed(pages[at + 1 :])
    gone = users().probe(["ada9"], ["ada1"])
    assert gone == {"ada9": Presence.GONE}


@pytest.mark.usefixtures("keyed")
@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"data": {"users": "none"}}, "data.users"),
        ({"data": {}}, "data.users"),
        ({"error": "quota"}, "data.users"),
    ],
)
def test_a_page_without_records_by_key_is_named(
    users: OpenSource, provider: Provider, body: dict[str, Any], words: str
) -> None:
    provider.answer = lambda _: as_json(body)
    with pytest.raises(PageUnreadable, match=words):
        list(users().pages(None))


def test_keys_are_for_json_pages(keyed: dict[str, Any]) -> None:
    keyed["streams"]["users"]["xml"] = {}
    with pytest.raises(InvalidInput, match="keyed is for JSON pages, not for xml or job"):
        catalog.validate("rest", keyed)
