"""Members of a GitLab group."""

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

GITLAB = Emulation(
    provider="gitlab",
    read_on="2026-11-29",
    sources=(
        "https://docs.gitlab.com/api/members/",
        "https://docs.gitlab.com/administration/settings/rate_limit_on_groups_api/",
    ),
    data={"group": "4711", "token": "{secret}", "api_endpoint": "{url}/api/v4"},
    gate=Gate("PRIVATE-TOKEN", "{secret}", Answer(401, {"message": "401 Unauthorized"})),
    path="/api/v4/groups/4711/members/all",
    key="id",
    record={
        "id": "#{n}",
        "username": "ada{n}",
        "name": "Ada{n} Lovelace",
        "state": "active",
        "locked": False,
        "avatar_url": None,
        "web_url": "{url}/ada{n}",
        "access_level": 30,
        "created_at": "2024-05-06T07:08:09.000Z",
        "expires_at": None,
        "membership_state": "active",
        "email": "ada{n}@acme.example",
    },
    expects={
        "external_id": "{n}",
        "name": "Ada{n} Lovelace",
        "email": "ada{n}@acme.example",
        "username": "ada{n}",
        "access_level": 30,
    },
    states=(
        State("active"),
        State("blocked", {"state": "blocked"}, False),
        State("deactivated", {"state": "deactivated"}, False),
        State("locked for a while", {"locked": True}),
    ),
    paging=Paging("page", "page", "link", "per_page", default=20, most=100, first=1),
    budget=Budget(200, 60, Answer(429, "Retry later\n", {"Retry-After": "{wait}"})),
    single=Single(
        "/api/v4/groups/4711/members/all/{key}", Answer(404, {"message": "404 Not found"})
    ),
    not_found=Answer(404, {"message": "404 Not Found"}),
    restrictions=(
        Restriction("the token's owner does not own the group", hides=("email",)),
        Restriction(
            "the token's owner is no member of a private group",
            refuses=Answer(404, {"message": "404 Group Not Found"}),
        ),
    ),
)
