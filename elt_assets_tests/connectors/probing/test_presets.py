"""Missing users of every preset, asked for as that provider's public documentation says."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import pytest

from elt_assets.config.secret_refs import Secrets
from elt_assets.connectors import catalog
from elt_assets.connectors.limits import FetchLimits
from elt_assets.connectors.presets.preset import presets
from elt_assets.connectors.source import Presence
from elt_assets_tests.connectors.provider_behaviour import BEHAVIOURS, SECRET, Human
from elt_assets_tests.connectors.serving import Asked, Provider, Reply, as_json

PRESENT, GONE = Presence.PRESENT, Presence.GONE
CANNOT = {
    "aws_identity_center",
    "bamboohr",
    "confluence",
    "github",
    "hibob",
    "linear",
    "workday",
    "zoom",
}
"""GitHub names a member by login name alone, which people change. Confluence answers for accounts
without a licence, which its listing leaves out.
"""


@dataclass(frozen=True)
class One:
    """How a provider answers for one user: where, in what, and if there is none."""

    path: str
    missing: Reply
    within: str | None = None
    param: str | None = None
    filter: tuple[str, str] | None = None


ONES = {
    "okta": One(
        "/api/v1/users/(.+)",
        as_json({"errorCode": "E0000007", "errorSummary": "Not found"}, 404),
        filter=("filter", 'id eq "([^"]*)"'),
    ),
    "entra_id": One(
        "/v1.0/users/(.+)",
        as_json({"error": {"code": "Request_ResourceNotFound", "message": "…"}}, 404),
        filter=("$filter", "id eq '([^']*)'"),
    ),
    "google_workspace": One(
        "/admin/directory/v1/users/(.+)",
        as_json({"error": {"code": 404, "message": "Resource Not Found: userKey"}}, 404),
    ),
    "gitlab": One("/api/v4/groups/7/members/all/(.+)", as_json({"message": "404 Not found"}, 404)),
    "slack": One(
        "/api/users.info", as_json({"ok": False, "error": "user_not_found"}), "user", "user"
    ),
    "auth0": One(
        "/api/v2/users/(.+)",
        as_json({"statusCode": 404, "error": "Not Found", "errorCode": "inexistent_user"}, 404),
    ),
    "jumpcloud": One("/api/systemusers/(.+)", as_json({"message": "Not found."}, 404)),
    "onelogin": One(
        "/api/2/users/(.+)", as_json({"statusCode": 404, "name": "NotFoundError"}, 404)
    ),
    "atlassian": One(
        "/users/(.+)/manage/profile", as_json({"key": "notFound"}, 404), within="account"
    ),
}
EVERY = pytest.mark.parametrize("name", ONES)


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRESET_SECRET", SECRET)


def test_every_preset_can_be_asked_for_one_user_but_those_that_say_why_not() -> None:
    assert not set(ONES) & CANNOT
    for name, preset in presets().items():
        assert (preset.rest["streams"]["users"].get("single") is None) is (name in CANNOT)


@EVERY
@pytest.mark.parametrize("leavers", [2, 30])
def test_users_who_left_are_gone_and_others_are_present(
    provider: Provider, name: str, leavers: int
) -> None:
    behaviour, one = BEHAVIOURS[name], ONES[name]
    here = {behaviour.expected(Human(n)).external_id: behaviour.record(Human(n)) for n in (1, 2, 4)}
    key_of = {id(record): key for key, record in here.items()}

    def answer(asked: Asked) -> Reply:
        if behaviour.token is not None and asked.path == behaviour.token_path:
            return behaviour.token(asked)
        if not behaviour.admits(asked):
            return behaviour.unauthorized
        if one.filter is not None and asked.path == behaviour.path:
            named = re.findall(one.filter[1], asked.query[one.filter[0]])
            assert len(named) <= 20
            found = [record for record in here.values() if key_of[id(record)] in named]
            return behaviour.page(asked, found, provider.url)
        match = re.fullmatch(one.path, asked.path)
        assert match is not None
        key = asked.query[one.param] if one.param is not None else unquote(match[1])
        if key not in here:
            return one.missing
        return as_json(here[key] if one.within is None else {one.within: here[key]})

    provider.answer = answer
    left = [behaviour.expected(Human(n)).external_id for n in range(100, 100 + leavers)]
    present, *listed = here
    source = catalog.open_source(
        name,
        {**behaviour.data(provider.url), "rate_limit": {"concurrency": 1}},
        "users",
        secrets=Secrets(),
        limits=FetchLimits(
            attempts=1, first_wait=0.001, timeout=10, page_bytes=1 << 20, max_pages=9
        ),
    )
    expected: dict[str, Any] = {**dict.fromkeys(left, GONE), present: PRESENT}
    assert source.probe([*left, present], listed) == expected
    source.close()
    asked = [each for each in provider.asked if each.path != behaviour.token_path]
    by_filter = one.filter is not None and leavers > 5
    assert len(asked) <= (3 if by_filter else len(expected) + 1)
