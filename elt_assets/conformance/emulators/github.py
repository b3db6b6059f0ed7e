"""Members of a GitHub organization."""

from __future__ import annotations

from elt_assets.conformance.emulators.description import (
    Answer,
    Budget,
    Emulation,
    Gate,
    Paging,
    Restriction,
    State,
)

_MEMBERSHIP = "/user/memberships/orgs/acme"

GITHUB = Emulation(
    provider="github",
    read_on="2026-11-29",
    sources=(
        "https://docs.github.com/rest/orgs/members",
        "https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api",
    ),
    data={"organization": "acme", "token": "{secret}", "api_endpoint": "{url}"},
    gate=Gate(
        "Authorization",
        "Bearer {secret}",
        Answer(401, {"message": "Bad credentials", "status": "401"}),
    ),
    path="/orgs/acme/members",
    key="id",
    record={
        "login": "ada{n}",
        "id": "#{n}",
        "node_id": "MDQ6VXNlcj{n}",
        "url": "{url}/users/ada{n}",
        "type": "User",
        "site_admin": False,
        "user_view_type": "public",
    },
    expects={
        "external_id": "{n}",
        "name": "ada{n}",
        "login": "ada{n}",
        "kind": "User",
        "site_admin": False,
    },
    # GitHub does not say whether an account is in use.
    states=(
        State("member", active=True),
        State("site administrator", {"site_admin": True}, True, expects={"site_admin": True}),
    ),
    paging=Paging("page", "page", "link", "per_page", default=30, most=100, first=1),
    budget=Budget(
        5000,
        3600,
        Answer(
            403,
            {"message": "API rate limit exceeded for user ID 1.", "status": "403"},
            {
                "X-RateLimit-Limit": "5000",
                "X-RateLimit-Remaining": "0",
                "X-RateLimit-Reset": "{reset}",
            },
        ),
    ),
    documents={
        _MEMBERSHIP: Answer(
            200,
            {
                "url": "{url}/orgs/acme/memberships/robot",
                "state": "active",
                "role": "member",
                "organization": {"login": "acme"},
                "user": {"login": "robot"},
            },
        )
    },
    not_found=Answer(404, {"message": "Not Found", "status": "404"}),
    restrictions=(
        Restriction(
            "the token's owner is no member: public members only",
            every=3,
            documents={_MEMBERSHIP: Answer(404, {"message": "Not Found", "status": "404"})},
        ),
        Restriction(
            "the token may not read members: public members only",
            every=3,
            documents={
                _MEMBERSHIP: Answer(
                    403, {"message": "Resource not accessible by personal access token"}
                )
            },
        ),
        Restriction(
            "the invitation of the token's owner is not accepted",
            every=3,
            documents={_MEMBERSHIP: Answer(200, {"state": "pending", "role": "member"})},
        ),
    ),
)
