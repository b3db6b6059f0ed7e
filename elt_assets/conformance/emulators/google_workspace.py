"""Users of Google's Directory API."""

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


def _error(status: int, message: str, reason: str) -> Answer:
    errors = [{"domain": "global", "reason": reason, "message": message}]
    return Answer(status, {"error": {"code": status, "message": message, "errors": errors}})


GOOGLE_WORKSPACE = Emulation(
    provider="google_workspace",
    read_on="2026-11-29",
    sources=(
        "https://developers.google.com/workspace/admin/directory/reference/rest/v1/users/list",
        "https://developers.google.com/workspace/admin/directory/v1/guides/performance",
        "https://developers.google.com/workspace/admin/directory/v1/limits",
    ),
    data={
        "client_id": "client-1",
        "client_secret": "{secret}",
        "refresh_token": "{secret}",
        "api_endpoint": "{url}",
        "token_url": "{url}/token",
    },
    gate=Gate(
        "Authorization",
        "Bearer {token}",
        _error(401, "Request had invalid authentication credentials.", "authError"),
    ),
    token=TokenEndpoint(
        "/token",
        {
            "grant_type": "refresh_token",
            "client_id": "client-1",
            "client_secret": "{secret}",
            "refresh_token": "{secret}",
        },
        Answer(400, {"error": "invalid_grant", "error_description": "Bad Request"}),
    ),
    path="/admin/directory/v1/users",
    key="id",
    records="users",
    envelope={"kind": "admin#directory#users", "etag": '"x"'},
    record={
        "kind": "admin#directory#user",
        "id": "1000{n}",
        "etag": '"y"',
        "primaryEmail": "ada{n}@acme.example",
        "name": {
            "givenName": "Ada{n}",
            "familyName": "Lovelace",
            "fullName": "Ada{n} Lovelace",
        },
        "suspended": False,
        "archived": False,
        "isAdmin": False,
        "orgUnitPath": "/Research",
        "organizations": [
            {"department": "Sales", "title": "Clerk"},
            {"primary": True, "department": "Research", "title": "Analyst"},
        ],
        "recoveryPhone": "+4912345",
        "phones": [{"type": "home", "value": "+4967890"}],
    },
    mask=Mask("fields", whole=True),
    expects={
        "external_id": "1000{n}",
        "name": "Ada{n} Lovelace",
        "email": "ada{n}@acme.example",
        "org_unit": "/Research",
        "department": "Research",
        "title": "Analyst",
    },
    states=(
        State("in use"),
        State("suspended", {"suspended": True}, False),
        State("archived", {"archived": True}, False),
        State(
            "one organization",
            {"organizations": [{"department": "Sales", "title": "Clerk"}]},
            expects={"department": "Sales", "title": "Clerk"},
        ),
        # Deleted users are listed only with showDeleted.
        State("deleted", {"deletionTime": "2026-01-02T03:04:05Z"}, False, listed=False),
    ),
    paging=Paging("pageToken", "key", "body nextPageToken", "maxResults", default=100, most=500),
    budget=Budget(
        2400,
        60,
        _error(403, "Quota exceeded for quota metric 'Queries'", "userRateLimitExceeded"),
        says_when=False,
    ),
    single=Single(
        "/admin/directory/v1/users/{key}",
        _error(404, "Resource Not Found: userKey", "notFound"),
    ),
    not_found=_error(404, "Not Found", "notFound"),
    restrictions=(
        Restriction(
            "the scope is not delegated to the client",
            refuses=_error(403, "Not Authorized to access this resource/api", "forbidden"),
        ),
        Restriction(
            "a viewer without the administrator's view of users",
            hides=("suspended", "archived", "orgUnitPath", "organizations"),
            undetectable="",
        ),
    ),
)
