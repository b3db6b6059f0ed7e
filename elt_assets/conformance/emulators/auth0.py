"""Users of Auth0's Management API."""

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
    TokenEndpoint,
)


def _error(status: int, name: str, message: str, code: str, **headers: str) -> Answer:
    body = {"statusCode": status, "error": name, "message": message, "errorCode": code}
    return Answer(status, body, {key.replace("_", "-"): text for key, text in headers.items()})


AUTH0 = Emulation(
    provider="auth0",
    read_on="2026-11-29",
    sources=(
        "https://auth0.com/docs/api/management/v2/users/get-users",
        "https://auth0.com/docs/manage-users/user-search/view-search-results-by-page",
        "https://auth0.com/docs/troubleshoot/customer-support/operational-policies/rate-limit-policy",
    ),
    data={
        "domain": "acme.eu.auth0.com",
        "client_id": "client-1",
        "client_secret": "{secret}",
        "endpoint": "{url}",
    },
    gate=Gate(
        "Authorization",
        "Bearer {token}",
        _error(401, "Unauthorized", "Invalid token", "invalid_token"),
    ),
    token=TokenEndpoint(
        "/oauth/token",
        {
            "grant_type": "client_credentials",
            "client_id": "client-1",
            "client_secret": "{secret}",
            "audience": "https://acme.eu.auth0.com/api/v2/",
        },
        Answer(401, {"error": "access_denied", "error_description": "Unauthorized"}),
    ),
    path="/api/v2/users",
    key="user_id",
    records="users",
    enveloped_by=("include_totals", "true"),
    envelope={"start": 0, "limit": 100, "length": 100},
    record={
        "user_id": "auth0|{n}",
        "email": "ada{n}@acme.example",
        "email_verified": True,
        "name": "Ada{n} Lovelace",
        "nickname": "ada{n}",
        "username": "ada{n}",
        "created_at": "2024-05-06T07:08:09.000Z",
        "updated_at": "2026-01-02T03:04:05.000Z",
    },
    expects={
        "external_id": "auth0|{n}",
        "name": "Ada{n} Lovelace",
        "email": "ada{n}@acme.example",
        "username": "ada{n}",
    },
    states=(State("in use"), State("blocked", {"blocked": True}, False)),
    paging=Paging(
        "page",
        "page",
        "none",
        "per_page",
        default=50,
        most=100,
        too_many=_error(
            400, "Bad Request", "Query validation error: 'Too large'", "invalid_query_string"
        ),
        total="total",
        reach=1000,
        beyond=_error(
            400,
            "Bad Request",
            "You can only page through the first 1000 records.",
            "invalid_paging",
        ),
        total_ends_at_reach=True,
    ),
    # A tenant without a subscription; others have more.
    budget=Budget(
        2,
        1,
        _error(
            429,
            "Too Many Requests",
            "Global limit has been reached",
            "too_many_requests",
            X_RateLimit_Limit="10",
            X_RateLimit_Remaining="0",
            X_RateLimit_Reset="{reset}",
        ),
    ),
    single=Single(
        "/api/v2/users/{key}",
        _error(404, "Not Found", "The user does not exist.", "inexistent_user"),
    ),
    not_found=_error(404, "Not Found", "Not Found", "not_found"),
    restrictions=(
        Restriction(
            "the scope read:users is missing",
            refuses=_error(
                403,
                "Forbidden",
                "Insufficient scope, expected any of: read:users",
                "insufficient_scope",
            ),
        ),
    ),
)
