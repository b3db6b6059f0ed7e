"""Users of a Slack workspace."""

from __future__ import annotations

from elt_assets.conformance.emulators.description import (
    Answer,
    Budget,
    Emulation,
    Gate,
    Paging,
    Restriction,
    Single,
    State,
)

SLACK = Emulation(
    provider="slack",
    read_on="2026-11-29",
    sources=(
        "https://docs.slack.dev/reference/methods/users.list",
        "https://docs.slack.dev/reference/scopes/users.read.email",
        "https://docs.slack.dev/apis/web-api/rate-limits",
        "https://docs.slack.dev/authentication/tokens",
    ),
    data={"token": "{secret}", "team_id": "T0001", "api_endpoint": "{url}/api"},
    gate=Gate(
        "Authorization", "Bearer {secret}", Answer(200, {"ok": False, "error": "invalid_auth"})
    ),
    path="/api/users.list",
    key="id",
    records="members",
    envelope={"ok": True, "cache_ts": 1767323045},
    record={
        "id": "U0{n}",
        "team_id": "T0001",
        "name": "ada{n}",
        "deleted": False,
        "real_name": "Ada{n} Lovelace",
        "profile": {
            "title": "Analyst",
            "real_name": "Ada{n} Lovelace",
            "display_name": "ada{n}",
            "email": "ada{n}@acme.example",
        },
        "is_bot": False,
        "is_restricted": False,
        "updated": 1767323045,
    },
    expects={
        "external_id": "U0{n}",
        "name": "Ada{n} Lovelace",
        "email": "ada{n}@acme.example",
        "title": "Analyst",
        "is_bot": False,
    },
    states=(
        State("member"),
        State("guest", {"is_restricted": True}),
        State("deactivated", {"deleted": True}, False),
        State(
            "bot", {"is_bot": True, "profile.email": None}, expects={"is_bot": True, "email": None}
        ),
    ),
    paging=Paging(
        "cursor",
        "key",
        "body response_metadata.next_cursor",
        "limit",
        default=1000,
        most=1000,
        last="",
    ),
    budget=Budget(
        20, 60, Answer(429, {"ok": False, "error": "ratelimited"}, {"Retry-After": "{wait}"})
    ),
    single=Single(
        "/api/users.info", Answer(200, {"ok": False, "error": "user_not_found"}), "user", "user"
    ),
    needs={"team_id": "T0001"},
    lacks=Answer(200, {"ok": False, "error": "missing_argument"}),
    headers={"X-OAuth-Scopes": "users:read,users:read.email"},
    not_found=Answer(200, {"ok": False, "error": "unknown_method"}),
    restrictions=(
        Restriction(
            "the scope users:read.email is missing",
            hides=("profile.email",),
            headers={"X-OAuth-Scopes": "users:read"},
        ),
        Restriction(
            "the scope users:read is missing",
            refuses=Answer(
                200, {"ok": False, "error": "missing_scope", "needed": "users:read", "provided": ""}
            ),
            headers={"X-OAuth-Scopes": ""},
        ),
    ),
)
