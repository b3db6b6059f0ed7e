"""Okta's Users API."""

from __future__ import annotations

from elt_assets.conformance.emulators.description import (
    Answer,
    Budget,
    Emulation,
    Filter,
    Gate,
    Paging,
    Restriction,
    Single,
    State,
)


def _error(status: int, code: str, summary: str, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, {"errorCode": code, "errorSummary": summary, "errorCauses": []}, named)


def _status(status: str, active: bool, *, listed: bool = True) -> State:
    return State(status, {"status": status}, active, listed, {"status": status})


OKTA = Emulation(
    provider="okta",
    read_on="2026-11-29",
    sources=(
        "https://developer.okta.com/docs/api/openapi/okta-management/management/tag/User/",
        "https://developer.okta.com/docs/reference/rl-additional-limits/",
    ),
    data={"domain": "acme.okta.com", "token": "{secret}", "api_endpoint": "{url}/api/v1"},
    gate=Gate("Authorization", "SSWS {secret}", _error(401, "E0000011", "Invalid token provided")),
    path="/api/v1/users",
    key="id",
    record={
        "id": "00u{n}",
        "status": "ACTIVE",
        "created": "2024-05-06T07:08:09.000Z",
        "activated": None,
        "lastUpdated": "2026-01-02T03:04:05.000Z",
        "profile": {
            "firstName": "Ada{n}",
            "lastName": "Lovelace",
            "login": "ada{n}@acme.example",
            "email": "ada{n}@acme.example",
            "secondEmail": None,
        },
        "credentials": {"provider": {"type": "OKTA", "name": "OKTA"}},
    },
    expects={
        "external_id": "00u{n}",
        "name": "Ada{n} Lovelace",
        "email": "ada{n}@acme.example",
        "login": "ada{n}@acme.example",
        "status": "ACTIVE",
    },
    states=(
        _status("ACTIVE", True),
        _status("PROVISIONED", True),
        _status("RECOVERY", True),
        _status("PASSWORD_EXPIRED", True),
        _status("LOCKED_OUT", True),
        _status("STAGED", False),
        _status("SUSPENDED", False),
        # Listed only where search or filter asks for it.
        _status("DEPROVISIONED", False, listed=False),
        State(
            "a display name",
            {"profile.displayName": "Countess {n}"},
            True,
            True,
            {"name": "Countess {n}"},
        ),
    ),
    paging=Paging("after", "key", "link", "limit", default=200, most=200),
    budget=Budget(
        600,
        60,
        _error(
            429,
            "E0000047",
            "API call exceeded rate limit due to too many requests.",
            X_Rate_Limit_Limit="600",
            X_Rate_Limit_Remaining="0",
            X_Rate_Limit_Reset="{reset}",
        ),
        share=0.5,
    ),
    single=Single("/api/v1/users/{key}", _error(404, "E0000007", "Not found: Resource not found")),
    filter=Filter(
        "filter", 'id eq "([^"]+)"', 20, _error(400, "E0000031", "Invalid search criteria.")
    ),
    not_found=_error(404, "E0000022", "The endpoint does not support the provided HTTP method"),
    restrictions=(
        Restriction(
            "the administrator of the token may manage some groups only",
            every=3,
            undetectable="Okta lists whom the administrator may see and says nothing of the rest",
        ),
        Restriction(
            "the administrator of the token may not read users",
            refuses=_error(403, "E0000006", "You do not have permission to perform this action"),
        ),
    ),
)
