"""Sign-ins of the presets that offer them, as their providers' public documentation says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from elt_assets.connectors.presets.preset import presets
from elt_assets.identifiers import IntegrationRef
from elt_assets.signin_events.pipeline import EventPipeline
from elt_assets.signin_events.results import EventSource
from elt_assets.sync.service import SyncService
from elt_assets_tests.connectors.provider_behaviour import BEHAVIOURS, SECRET, linked
from elt_assets_tests.connectors.serving import Answer, Asked, Provider, Reply, as_json

REF = IntegrationRef("acme", "preset")
DAY = date(2026, 1, 5)
BEGIN, END = "2026-01-05T00:00:00Z", "2026-01-06T00:00:00Z"
Records = list[dict[str, Any]]


@dataclass(frozen=True)
class Signins:
    """How one provider tells sign-ins; `asks` are the parameters that every page is asked with.

    `expected` are country, ip, user agent and application of each of them.
    """

    path: str
    asks: dict[str, str]
    record: Callable[[int], dict[str, Any]]
    page: Callable[[Asked, Records, str], Reply]
    page_size: int
    event_id: Callable[[int], str]
    user_id: Callable[[int], str]
    expected: tuple[str | None, str, str | None, str | None]
    noise: tuple[dict[str, Any], ...] = ()


def at(number: int) -> str:
    """When a sign-in was."""
    moment = datetime(2026, 1, 5, tzinfo=UTC) + timedelta(seconds=number)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def failed(number: int) -> bool:
    return number % 5 == 0


def _okta(asked: Asked, records: Records, url: str) -> Reply:
    """The link to the next page repeats what was asked for."""
    reply: Reply = linked("after", "limit", 1000)(asked, records, url)
    kept = "&".join(f"{name}={asked.query[name]}" for name in ("since", "until", "sortOrder"))
    kept += "&filter=eventType%20eq%20%22user.session.start%22"
    reply.headers["Link"] = reply.headers["Link"].replace("?", f"?{kept}&")
    return reply


def _graph(asked: Asked, records: Records, url: str) -> Reply:
    size = min(int(asked.query["$top"]), 1000)
    first = int(asked.query.get("$skiptoken", "0"))
    body: dict[str, Any] = {"@odata.context": "…", "value": records[first : first + size]}
    if first + size < len(records):
        condition = asked.query["$filter"].replace(" ", "%20")
        rest = f"$filter={condition}&$top={size}&$skiptoken={first + size}"
        body["@odata.nextLink"] = f"{url}{asked.path}?{rest}"
    return as_json(body)


def _auth0(asked: Asked, records: Records, url: str) -> Reply:
    """No more than a thousand may be paged through."""
    size, number = int(asked.query["per_page"]), int(asked.query["page"])
    assert size <= 100
    if (number + 1) * size > 1000:
        return as_json({"statusCode": 400, "error": "Bad Request", "message": "too far"}, 400)
    first = number * size
    found = records[first : first + size]
    totals = {"start": first, "limit": size, "length": len(found), "total": len(records)}
    return as_json(totals | {"logs": found})


def _google(asked: Asked, records: Records, url: str) -> Reply:
    size = min(int(asked.query["maxResults"]), 1000)
    first = int(asked.query.get("pageToken", "0"))
    body: dict[str, Any] = {"kind": "admin#reports#activities", "etag": '"x"'}
    if found := records[first : first + size]:
        body["items"] = found
    if first + size < len(records):
        body["nextPageToken"] = str(first + size)
    return as_json(body)


def activity(number: int, name: str) -> dict[str, Any]:
    return {
        "kind": "admin#reports#activity",
        "id": {
            "time": at(number),
            "uniqueQualifier": str(-number),
            "applicationName": "login",
            "customerId": "C03az79cb",
        },
        "etag": '"x"',
        "actor": {"email": f"ada{number}@example.com", "profileId": str(10**20 + number)},
        "ipAddress": "203.0.113.7",
        "networkInfo": {"regionCode": "DE"},
        "events": [
            {
                "type": "login",
                "name": name,
                "parameters": [{"name": "login_type", "value": "google_password"}],
            }
        ],
    }


SIGNINS: dict[str, Signins] = {
    "okta": Signins(
        path="/api/v1/logs",
        asks={"since": BEGIN, "until": END, "filter": 'eventType eq "user.session.start"'},
        record=lambda n: {
            "uuid": f"uuid-{n}",
            "published": at(n),
            "eventType": "user.session.start",
            "displayMessage": "User login to Okta",
            "actor": {"id": f"00u{n}", "type": "User", "alternateId": f"ada{n}@example.com"},
            "client": {
                "ipAddress": "203.0.113.7",
                "userAgent": {"rawUserAgent": "Mozilla/5.0", "os": "Linux", "browser": "FIREFOX"},
                "geographicalContext": {"country": "Germany"},
            },
            "outcome": {"result": "FAILURE", "reason": "INVALID_CREDENTIALS"}
            if failed(n)
            else {"result": "SUCCESS"},
            "target": [
                {"id": "0oa1", "type": "AppInstance", "displayName": "Okta Dashboard"},
            ],
        },
        page=_okta,
        page_size=1000,
        event_id=lambda n: f"uuid-{n}",
        user_id=lambda n: f"00u{n}",
        expected=(None, "203.0.113.7", "Mozilla/5.0", "Okta Dashboard"),
    ),
    "entra_id": Signins(
        path="/v1.0/auditLogs/signIns",
        asks={"$filter": f"createdDateTime ge {BEGIN} and createdDateTime le {END}"},
        record=lambda n: {
            "id": f"{n:036d}",
            "createdDateTime": at(n),
            "userId": f"{n:032d}",
            "userPrincipalName": f"ada{n}@example.com",
            "appDisplayName": "Graph explorer",
            "ipAddress": "203.0.113.7",
            "clientAppUsed": "Browser",
            "status": {"errorCode": 50126 if failed(n) else 0, "failureReason": None},
            "deviceDetail": {"browser": "Edge 80.0.361", "operatingSystem": "Windows 10"},
            "location": {"city": "Bonn", "countryOrRegion": "DE"},
        },
        page=_graph,
        page_size=999,
        event_id=lambda n: f"{n:036d}",
        user_id=lambda n: f"{n:032d}",
        expected=("DE", "203.0.113.7", "Edge 80.0.361", "Graph explorer"),
    ),
    "auth0": Signins(
        path="/api/v2/logs",
        asks={"q": f"type:(s OR f OR fp OR fu) AND date:[{BEGIN} TO {END}]", "sort": "date:1"},
        record=lambda n: {
            "_id": f"9002026{n}",
            "log_id": f"9002026{n}",
            "date": at(n),
            "type": "fp" if failed(n) else "s",
            "user_id": f"auth0|{n}",
            "user_name": f"ada{n}@example.com",
            "client_name": "My app",
            "ip": "203.0.113.7",
            "user_agent": "Firefox 120.0.0",
            "location_info": {"country_code": "DE", "country_name": "Germany"},
        },
        page=_auth0,
        page_size=100,
        event_id=lambda n: f"9002026{n}",
        user_id=lambda n: f"auth0|{n}",
        expected=("DE", "203.0.113.7", "Firefox 120.0.0", "My app"),
    ),
    "google_workspace": Signins(
        path="/admin/reports/v1/activity/users/all/applications/login",
        asks={"startTime": BEGIN, "endTime": END},
        record=lambda n: activity(n, "login_failure" if failed(n) else "login_success"),
        page=_google,
        page_size=1000,
        event_id=lambda n: f"{at(n)} {-n}",
        user_id=lambda n: str(10**20 + n),
        expected=("DE", "203.0.113.7", None, None),
        noise=(activity(70_000, "logout"), activity(70_001, "login_challenge")),
    ),
}
EVERY = pytest.mark.parametrize("name", SIGNINS)


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRESET_SECRET", SECRET)


def serving(name: str, count: int, provider: Provider) -> Answer:
    behaviour, signins = BEHAVIOURS[name], SIGNINS[name]
    records = [*signins.noise, *(signins.record(number) for number in range(1, count + 1))]

    def answer(asked: Asked) -> Reply:
        if behaviour.token is not None and asked.path == behaviour.token_path:
            return behaviour.token(asked)
        assert behaviour.admits(asked)
        assert asked.path == signins.path
        assert asked.query.items() >= signins.asks.items()
        return signins.page(asked, records, provider.url)

    return answer


def test_every_preset_that_offers_sign_ins_is_tried() -> None:
    offering = [name for name, one in presets().items() if "signin_events" in one.rest["streams"]]
    assert sorted(SIGNINS) == offering


@EVERY
def test_a_preset_tells_every_sign_in_of_a_day(
    provider: Provider, platform: SyncService, name: str
) -> None:
    signins = SIGNINS[name]
    count = int(signins.page_size * 2.5)
    provider.answer = serving(name, count, provider)
    data = BEHAVIOURS[name].data(provider.url) | {"streams": ["users", "signin_events"]}
    platform.registry.add(REF, name, data)
    with EventPipeline(platform) as events:
        (extraction,) = events.extract_api(DAY)
        assert extraction.error is None
        assert (extraction.pages, extraction.fetched) == (3, count + len(signins.noise))
        normalized = events.normalize(EventSource.API, DAY)
        assert (normalized.read, normalized.rejected) == (count, 0)
        events.load(DAY)
        rows = events.reports.events(limit=None)
    shown = ("event_id", "user_external_id", "result", "country", "ip", "user_agent", "application")
    assert {tuple(row[field] for field in shown) for row in rows} == {
        (
            signins.event_id(number),
            signins.user_id(number),
            "failure" if failed(number) else "success",
            *signins.expected,
        )
        for number in range(1, count + 1)
    }
    assert rows[-1]["occurred_at"] == "2026-01-05T00:00:01.000000Z"


@EVERY
def test_a_day_without_sign_ins_is_read_in_full(
    provider: Provider, platform: SyncService, name: str
) -> None:
    provider.answer = serving(name, 0, provider)
    data = BEHAVIOURS[name].data(provider.url) | {"streams": ["users", "signin_events"]}
    platform.registry.add(REF, name, data)
    with EventPipeline(platform) as events:
        (extraction,) = events.extract_api(DAY)
        assert extraction.error is None
        assert events.normalize(EventSource.API, DAY).read == 0


def test_a_day_that_auth0_does_not_list_in_full_fails(
    provider: Provider, platform: SyncService
) -> None:
    provider.answer = serving("auth0", 1_001, provider)
    data = BEHAVIOURS["auth0"].data(provider.url) | {"streams": ["signin_events"]}
    platform.registry.add(REF, "auth0", data)
    with EventPipeline(platform) as events:
        (extraction,) = events.extract_api(DAY)
    assert extraction.status == "failed"
    assert "answered 400" in (extraction.error or "")
