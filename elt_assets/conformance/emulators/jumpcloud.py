"""System users of JumpCloud's API 1.0."""

from __future__ import annotations

from elt_assets.conformance.emulators.description import (
    Answer,
    Budget,
    Emulation,
    Gate,
    Paging,
    Single,
    State,
)

JUMPCLOUD = Emulation(
    provider="jumpcloud",
    read_on="2026-11-29",
    sources=(
        "https://docs.jumpcloud.com/api/1.0/index.html",
        "https://github.com/TheJumpCloud/support/wiki/Set-JCOrganization",
    ),
    data={
        "api_key": "{secret}",
        "organization": "5b5o13o06tsand0c29a0t3s6",
        "api_endpoint": "{url}/api",
    },
    gate=Gate(
        "x-api-key", "{secret}", Answer(401, {"message": "Unauthorized", "error": "unauthorized"})
    ),
    path="/api/systemusers",
    key="_id",
    records="results",
    record={
        "_id": "5f14e379abf7{n}",
        "username": "ada{n}",
        "firstname": "Ada{n}",
        "lastname": "Lovelace",
        "displayname": "",
        "email": "ada{n}@acme.example",
        "state": "ACTIVATED",
        "account_locked": False,
        "suspended": False,
        "department": "Research",
        "jobTitle": "Analyst",
    },
    expects={
        "external_id": "5f14e379abf7{n}",
        "name": "Ada{n} Lovelace",
        "email": "ada{n}@acme.example",
        "username": "ada{n}",
        "department": "Research",
        "title": "Analyst",
    },
    states=(
        State("activated"),
        State("staged", {"state": "STAGED"}, False),
        State("suspended", {"state": "SUSPENDED", "suspended": True}, False),
        State("locked after wrong passwords", {"account_locked": True}),
        State("a display name", {"displayname": "Countess {n}"}, expects={"name": "Countess {n}"}),
    ),
    paging=Paging("skip", "record", "none", "limit", default=10, most=100, total="totalCount"),
    budget=Budget(
        None, 60, Answer(429, {"message": "Too many requests"}, {"Retry-After": "{wait}"})
    ),
    single=Single("/api/systemusers/{key}", Answer(404, {"message": "Not found."})),
    # An administrator of several organizations reads the one that the header names.
    required={"x-org-id": "5b5o13o06tsand0c29a0t3s6"},
    not_found=Answer(404, {"message": "Not found."}),
)
