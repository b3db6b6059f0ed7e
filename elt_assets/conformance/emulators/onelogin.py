"""Users of OneLogin's API 2."""

from __future__ import annotations

from elt_assets.conformance.emulators.description import (
    Answer,
    Budget,
    Emulation,
    Gate,
    Mask,
    Paging,
    Restriction,
    Single,
    State,
    TokenEndpoint,
)


def _error(status: int, name: str, message: str, **headers: str) -> Answer:
    body = {"statusCode": status, "name": name, "message": message}
    return Answer(status, body, {key.replace("_", "-"): text for key, text in headers.items()})


def _status(name: str, status: int, active: bool) -> State:
    return State(name, {"status": status}, active)


ONELOGIN = Emulation(
    provider="onelogin",
    read_on="2026-11-29",
    sources=(
        "https://developers.onelogin.com/api-docs/2/users/list-users",
        "https://developers.onelogin.com/api-docs/2/getting-started/using-query-parameters",
        "https://developers.onelogin.com/api-docs/1/users/user-resource",
    ),
    data={
        "subdomain": "acme",
        "client_id": "client-1",
        "client_secret": "{secret}",
        "endpoint": "{url}",
    },
    gate=Gate("Authorization", "Bearer {token}", _error(401, "UnauthorizedError", "Unauthorized")),
    token=TokenEndpoint(
        "/auth/oauth2/v2/token",
        {"grant_type": "client_credentials"},
        Answer(401, {"status": {"error": True, "code": 401, "message": "Authentication Failure"}}),
        basic=True,
    ),
    path="/api/2/users",
    key="id",
    record={
        "id": "#{n}",
        "firstname": "Ada{n}",
        "lastname": "Lovelace",
        "email": "ada{n}@acme.example",
        "username": "ada{n}",
        "status": 1,
        "state": 1,
        "group_id": None,
        "created_at": "2024-05-06T07:08:09.000Z",
        "updated_at": "2026-01-02T03:04:05.000Z",
        "department": "Research",
        "title": "Analyst",
        "company": "Acme",
    },
    # The listing leaves out what belongs to a user's profile unless fields names it.
    mask=Mask(
        "fields",
        frozenset(
            {
                "firstname",
                "lastname",
                "email",
                "username",
                "status",
                "state",
                "group_id",
                "created_at",
                "updated_at",
            }
        ),
        frozenset({"id"}),
    ),
    expects={
        "external_id": "{n}",
        "name": "Ada{n} Lovelace",
        "email": "ada{n}@acme.example",
        "username": "ada{n}",
        "department": "Research",
        "title": "Analyst",
    },
    states=(
        _status("active", 1, True),
        _status("unactivated", 0, False),
        _status("suspended", 2, False),
        _status("locked", 3, True),
        _status("password expired", 4, True),
        _status("awaiting a password reset", 5, True),
        _status("password pending", 7, True),
        _status("security questions required", 8, True),
        State("unlicensed", {"state": 3}, False),
        State("rejected", {"state": 2}, False),
    ),
    # The cursor is a page's number in disguise.
    paging=Paging("cursor", "page", "header After-Cursor", "limit", default=50, most=50),
    budget=Budget(
        5000,
        3600,
        _error(
            429,
            "TooManyRequests",
            "rate limit exceeded",
            X_RateLimit_Limit="5000",
            X_RateLimit_Remaining="0",
            X_RateLimit_Reset="{wait}",
        ),
    ),
    single=Single("/api/2/users/{key}", _error(404, "NotFoundError", "User not found")),
    not_found=_error(404, "NotFoundError", "Not Found"),
    restrictions=(
        Restriction(
            "the credential may not read users",
            refuses=_error(403, "ForbiddenError", "Insufficient Permission"),
        ),
    ),
)
