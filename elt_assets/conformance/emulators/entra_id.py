"""Users of Microsoft Graph."""

from __future__ import annotations

from elt_assets.conformance.emulators.description import (
    Answer,
    Budget,
    Emulation,
    Filter,
    Gate,
    Mask,
    Paging,
    Restriction,
    Single,
    State,
    TokenEndpoint,
)


def _error(status: int, code: str, message: str, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, {"error": {"code": code, "message": message}}, named)


ENTRA_ID = Emulation(
    provider="entra_id",
    read_on="2026-11-29",
    sources=(
        "https://learn.microsoft.com/graph/api/user-list",
        "https://learn.microsoft.com/graph/api/resources/user",
        "https://learn.microsoft.com/graph/throttling-limits",
        "https://learn.microsoft.com/graph/permissions-reference",
    ),
    data={
        "tenant_id": "tenant-1",
        "client_id": "client-1",
        "client_secret": "{secret}",
        "login_endpoint": "{url}",
        "graph_endpoint": "{url}",
    },
    gate=Gate(
        "Authorization",
        "Bearer {token}",
        _error(401, "InvalidAuthenticationToken", "Access token has expired or is not valid."),
    ),
    token=TokenEndpoint(
        "/tenant-1/oauth2/v2.0/token",
        {
            "grant_type": "client_credentials",
            "client_id": "client-1",
            "client_secret": "{secret}",
            "scope": "{url}/.default",
        },
        Answer(401, {"error": "invalid_client", "error_description": "AADSTS7000215"}),
    ),
    path="/v1.0/users",
    key="id",
    records="value",
    envelope={"@odata.context": "{url}/v1.0/$metadata#users"},
    record={
        "id": "6e7b768e-07e2-4810-8459-{n}",
        "businessPhones": [],
        "displayName": "Ada{n} Lovelace",
        "givenName": "Ada{n}",
        "surname": "Lovelace",
        "jobTitle": "Analyst",
        "mail": "ada{n}@acme.example",
        "mobilePhone": None,
        "officeLocation": None,
        "preferredLanguage": None,
        "userPrincipalName": "ada{n}@acme.onmicrosoft.example",
        "accountEnabled": True,
        "department": "Research",
        "userType": "Member",
        "createdDateTime": "2024-05-06T07:08:09Z",
    },
    # accountEnabled, department and userType come only if $select names them.
    mask=Mask(
        "$select",
        frozenset(
            {
                "id",
                "businessPhones",
                "displayName",
                "givenName",
                "jobTitle",
                "mail",
                "mobilePhone",
                "officeLocation",
                "preferredLanguage",
                "surname",
                "userPrincipalName",
            }
        ),
    ),
    expects={
        "external_id": "6e7b768e-07e2-4810-8459-{n}",
        "name": "Ada{n} Lovelace",
        "email": "ada{n}@acme.example",
        "user_principal_name": "ada{n}@acme.onmicrosoft.example",
        "user_type": "Member",
        "department": "Research",
        "title": "Analyst",
    },
    states=(
        State("enabled"),
        State("disabled", {"accountEnabled": False}, False),
        State(
            "without a mailbox",
            {"mail": None},
            expects={"email": "ada{n}@acme.onmicrosoft.example"},
        ),
        State(
            "guest",
            {
                "userType": "Guest",
                "mail": "ada{n}@partner.example",
                "userPrincipalName": "ada{n}_partner.example#EXT#@acme.onmicrosoft.example",
            },
            expects={
                "user_type": "Guest",
                "email": "ada{n}@partner.example",
                "user_principal_name": "ada{n}_partner.example#EXT#@acme.onmicrosoft.example",
            },
        ),
    ),
    paging=Paging(
        "$skiptoken",
        "key",
        "url @odata.nextLink",
        "$top",
        default=100,
        most=999,
        too_many=_error(
            400,
            "Request_UnsupportedQuery",
            "Invalid page size specified: must be between 1 and 999 inclusive.",
        ),
    ),
    # 3,500 units in 10 seconds for an app in the smallest tenants; a page of users costs 2.
    budget=Budget(
        1750,
        10,
        _error(429, "TooManyRequests", "Too many requests", Retry_After="{wait}"),
    ),
    single=Single(
        "/v1.0/users/{key}",
        _error(404, "Request_ResourceNotFound", "Resource does not exist"),
    ),
    filter=Filter(
        "$filter",
        "id eq '([^']+)'",
        15,
        _error(
            400,
            "Request_UnsupportedQuery",
            "Too many child clauses specified in search filter expression",
        ),
    ),
    not_found=_error(404, "ResourceNotFound", "Resource not found for the segment"),
    restrictions=(
        Restriction(
            "consent for User.ReadBasic.All alone",
            hides=("accountEnabled", "department", "jobTitle", "userType"),
        ),
        Restriction(
            "no consent of an administrator",
            refuses=_error(
                403,
                "Authorization_RequestDenied",
                "Insufficient privileges to complete the operation.",
            ),
        ),
    ),
    guarded=("email", "name", "active"),
)
