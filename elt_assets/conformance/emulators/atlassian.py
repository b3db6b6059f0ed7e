"""Managed accounts of an Atlassian organization."""

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

ATLASSIAN = Emulation(
    provider="atlassian",
    read_on="2026-11-29",
    sources=(
        "https://developer.atlassian.com/cloud/admin/organization/rest/api-group-users/",
        "https://developer.atlassian.com/cloud/admin/user-management/rest/intro/",
        "https://community.atlassian.com/forums/Enterprise-articles/New-organization-APIs-available-today/ba-p/2973523",
    ),
    data={"organization": "org-1", "api_key": "{secret}", "api_endpoint": "{url}"},
    gate=Gate(
        "Authorization", "Bearer {secret}", Answer(401, {"code": 401, "message": "Unauthorized"})
    ),
    path="/admin/v1/orgs/org-1/users",
    key="account_id",
    records="data",
    envelope={"links": {"self": "{url}/admin/v1/orgs/org-1/users"}, "meta": {"total": 0}},
    record={
        "account_id": "712020:{n}",
        "account_type": "atlassian",
        "account_status": "active",
        "name": "Ada{n} Lovelace",
        "picture": "https://avatar.example/{n}",
        "email": "ada{n}@acme.example",
        "access_billable": True,
        "links": {"self": "{url}/admin/v1/orgs/org-1/users/712020:{n}"},
    },
    expects={
        "external_id": "712020:{n}",
        "name": "Ada{n} Lovelace",
        "email": "ada{n}@acme.example",
        "account_type": "atlassian",
    },
    states=(
        State("active"),
        State("inactive", {"account_status": "inactive"}, False),
        State("app", {"account_type": "app"}, expects={"account_type": "app"}),
    ),
    paging=Paging(
        "cursor", "key", "url links.next", None, default=100, most=100, total="meta.total"
    ),
    budget=Budget(
        None, 60, Answer(429, {"code": 429, "message": "Rate limited"}, {"Retry-After": "{wait}"})
    ),
    single=Single(
        "/users/{key}/manage/profile", Answer(404, {"key": "notFound"}), within="account"
    ),
    not_found=Answer(404, {"code": 404, "message": "Not Found"}),
    restrictions=(
        Restriction(
            "the key belongs to nobody who administers the organization",
            refuses=Answer(403, {"code": 403, "message": "Forbidden"}),
        ),
    ),
)
