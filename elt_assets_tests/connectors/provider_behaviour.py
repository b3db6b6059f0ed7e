"""How each well-known provider behaves on the wire, according to its public documentation.

For each preset: the shape of a page and of a user, pagination, the place of the credentials, and
the answers to wrong credentials and to too many requests.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from elt_assets_tests.connectors.serving import Asked, Reply, as_json

SECRET = "s3cret-of-the-tests"
TOKEN = "issued-token"
REFERENCE = {"env": "PRESET_SECRET"}


@dataclass(frozen=True)
class Human:
    """Somebody, told the same way for every provider."""

    number: int

    @property
    def first(self) -> str:
        return f"Ada{self.number}"

    @property
    def last(self) -> str:
        return "Lovelace"

    @property
    def full(self) -> str:
        return f"{self.first} {self.last}"

    @property
    def email(self) -> str:
        return f"ada{self.number}@example.com"

    @property
    def active(self) -> bool:
        return self.number % 3 != 0


@dataclass(frozen=True)
class Expected:
    """What stands in the latest table."""

    external_id: str
    name: str | None
    email: str | None
    active: bool | None


@dataclass(frozen=True)
class Behaviour:
    """One provider."""

    data: Callable[[str], dict[str, Any]]
    path: str
    page_size: int
    record: Callable[[Human], dict[str, Any]]
    expected: Callable[[Human], Expected]
    admits: Callable[[Asked], bool]
    page: Callable[[Asked, list[dict[str, Any]], str], Reply]
    unauthorized: Reply
    complaint: str
    limited: Callable[[], Reply]
    token_path: str | None = None
    token: Callable[[Asked], Reply] | None = None


def with_headers(reply: Reply, **headers: str) -> Reply:
    reply.headers.update({name.replace("_", "-"): text for name, text in headers.items()})
    return reply


def issue(form: dict[str, str]) -> Callable[[Asked], Reply]:
    """A token endpoint that wants these fields in the form."""

    def answer(asked: Asked) -> Reply:
        if asked.method != "POST" or asked.form | form != asked.form:
            return as_json({"error": "invalid_client", "error_description": "secret"}, 401)
        return as_json({"access_token": TOKEN, "token_type": "Bearer", "expires_in": 3600})

    return answer


def bearer(value: str) -> Callable[[Asked], bool]:
    return lambda asked: asked.headers.get("authorization") == f"Bearer {value}"


def linked(start: str, size: str, most: int, base: int = 0) -> Any:
    """Pages of a bare list, the next one in the Link header by `start`."""

    def page(asked: Asked, users: list[dict[str, Any]], url: str) -> Reply:
        count = min(int(asked.query.get(size, most)), most)
        number = int(asked.query.get(start, base))
        first = (number - base) * count if base else number
        links = [f'<{url}{asked.path}?{size}={count}>; rel="self"']
        if first + count < len(users):
            following = number + 1 if base else first + count
            links.append(f'<{url}{asked.path}?{start}={following}&{size}={count}>; rel="next"')
        return as_json(users[first : first + count], link=", ".join(links))

    return page


# Okta: SSWS token, Link header, X-Rate-Limit-*, errorCode and errorSummary.

OKTA = Behaviour(
    data=lambda url: {
        "domain": "acme.okta.com",
        "token": REFERENCE,
        "api_endpoint": f"{url}/api/v1",
    },
    path="/api/v1/users",
    page_size=200,
    record=lambda human: {
        "id": f"00u{human.number}",
        "status": "ACTIVE" if human.active else "SUSPENDED",
        "lastUpdated": "2026-01-02T03:04:05.000Z",
        "profile": {
            "firstName": human.first,
            "lastName": human.last,
            "email": human.email,
            "login": human.email,
        },
    },
    expected=lambda human: Expected(f"00u{human.number}", human.full, human.email, human.active),
    admits=lambda asked: asked.headers.get("authorization") == f"SSWS {SECRET}",
    page=linked("after", "limit", 200),
    unauthorized=as_json(
        {"errorCode": "E0000011", "errorSummary": "Invalid token provided", "errorCauses": []}, 401
    ),
    complaint="E0000011",
    limited=lambda: with_headers(
        as_json({"errorCode": "E0000047", "errorSummary": "API call exceeded rate limit"}, 429),
        X_Rate_Limit_Limit="600",
        X_Rate_Limit_Remaining="0",
        X_Rate_Limit_Reset=str(int(time.time()) + 1),
    ),
)

# Microsoft Graph: client credentials, value and @odata.nextLink, Retry-After, error.code.


def _graph(asked: Asked, users: list[dict[str, Any]], url: str) -> Reply:
    size = min(int(asked.query["$top"]), 999)
    first = int(asked.query.get("$skiptoken", "0"))
    body: dict[str, Any] = {
        "@odata.context": f"{url}/v1.0/$metadata#users",
        "value": users[first : first + size],
    }
    if first + size < len(users):
        body["@odata.nextLink"] = (
            f"{url}/v1.0/users?$select={asked.query['$select']}&$top={size}"
            f"&$skiptoken={first + size}"
        )
    return as_json(body)


ENTRA_ID = Behaviour(
    data=lambda url: {
        "tenant_id": "tenant",
        "client_id": "client",
        "client_secret": REFERENCE,
        "login_endpoint": url,
        "graph_endpoint": url,
    },
    path="/v1.0/users",
    page_size=999,
    record=lambda human: {
        "id": f"{human.number:032d}",
        "displayName": human.full,
        "mail": human.email if human.number % 2 else None,
        "userPrincipalName": human.email,
        "accountEnabled": human.active,
        "userType": "Member",
    },
    expected=lambda human: Expected(f"{human.number:032d}", human.full, human.email, human.active),
    admits=bearer(TOKEN),
    page=_graph,
    unauthorized=as_json(
        {"error": {"code": "InvalidAuthenticationToken", "message": "Access token is empty."}}, 401
    ),
    complaint="InvalidAuthenticationToken",
    limited=lambda: as_json(
        {"error": {"code": "TooManyRequests", "message": "Please retry"}}, 429, retry_after="1"
    ),
    token_path="/tenant/oauth2/v2.0/token",
    token=lambda asked: issue(
        {
            "grant_type": "client_credentials",
            "client_id": "client",
            "client_secret": SECRET,
            "scope": f"http://{asked.headers['host']}/.default",
        }
    )(asked),
)

# Google Directory API: refresh token, users and nextPageToken, 403 for a used-up quota.


def _google(asked: Asked, users: list[dict[str, Any]], url: str) -> Reply:
    assert asked.query["customer"] == "my_customer"
    size = min(int(asked.query["maxResults"]), 500)
    first = int(asked.query.get("pageToken", "0"))
    body: dict[str, Any] = {
        "kind": "admin#directory#users",
        "users": users[first : first + size],
    }
    if first + size < len(users):
        body["nextPageToken"] = str(first + size)
    return as_json(body)


GOOGLE_WORKSPACE = Behaviour(
    data=lambda url: {
        "client_id": "client",
        "client_secret": REFERENCE,
        "refresh_token": REFERENCE,
        "api_endpoint": url,
        "token_url": f"{url}/token",
    },
    path="/admin/directory/v1/users",
    page_size=500,
    record=lambda human: {
        "id": str(10**20 + human.number),
        "primaryEmail": human.email,
        "name": {"givenName": human.first, "familyName": human.last, "fullName": human.full},
        "suspended": not human.active,
        "orgUnitPath": "/",
        "organizations": [{"department": "Sales"}, {"primary": True, "department": "Research"}],
    },
    expected=lambda human: Expected(
        str(10**20 + human.number), human.full, human.email, human.active
    ),
    admits=bearer(TOKEN),
    page=_google,
    unauthorized=as_json(
        {
            "error": {
                "code": 401,
                "message": "Request had invalid credentials.",
                "status": "UNAUTHENTICATED",
            }
        },
        401,
    ),
    complaint="UNAUTHENTICATED",
    limited=lambda: as_json(
        {
            "error": {
                "code": 403,
                "message": "Quota exceeded",
                "errors": [{"domain": "usageLimits", "reason": "userRateLimitExceeded"}],
            }
        },
        403,
    ),
    token_path="/token",
    token=issue(
        {
            "grant_type": "refresh_token",
            "client_id": "client",
            "client_secret": SECRET,
            "refresh_token": SECRET,
        }
    ),
)

# GitHub: bearer token, page numbers in Link headers, 403 with X-RateLimit-* for too many.

GITHUB = Behaviour(
    data=lambda url: {"organization": "acme", "token": REFERENCE, "api_endpoint": url},
    path="/orgs/acme/members",
    page_size=100,
    record=lambda human: {
        "login": f"ada{human.number}",
        "id": human.number,
        "type": "User",
        "site_admin": False,
    },
    expected=lambda human: Expected(str(human.number), f"ada{human.number}", None, True),
    admits=lambda asked: (
        asked.headers.get("authorization") == f"Bearer {SECRET}"
        and asked.headers.get("accept") == "application/vnd.github+json"
        and asked.headers.get("x-github-api-version") == "2022-11-28"
        and "user-agent" in asked.headers
    ),
    page=linked("page", "per_page", 100, base=1),
    unauthorized=as_json({"message": "Bad credentials", "status": "401"}, 401),
    complaint="an object with keys message, status",
    limited=lambda: with_headers(
        as_json({"message": "API rate limit exceeded"}, 403),
        X_RateLimit_Limit="5000",
        X_RateLimit_Remaining="0",
        X_RateLimit_Reset=str(int(time.time()) + 1),
    ),
)

# GitLab: PRIVATE-TOKEN, page numbers in Link headers, Retry-After and RateLimit-*.

GITLAB = Behaviour(
    data=lambda url: {"group": "7", "token": REFERENCE, "api_endpoint": f"{url}/api/v4"},
    path="/api/v4/groups/7/members/all",
    page_size=100,
    record=lambda human: {
        "id": human.number,
        "username": f"ada{human.number}",
        "name": human.full,
        "state": "active" if human.active else "blocked",
        "access_level": 30,
    },
    expected=lambda human: Expected(str(human.number), human.full, None, human.active),
    admits=lambda asked: asked.headers.get("private-token") == SECRET,
    page=linked("page", "per_page", 100, base=1),
    unauthorized=as_json({"message": "401 Unauthorized"}, 401),
    complaint="an object with keys message",
    limited=lambda: with_headers(
        Reply(b"Retry later\n", 429),
        RateLimit_Limit="2000",
        RateLimit_Remaining="0",
        RateLimit_Reset=str(int(time.time()) + 1),
        Retry_After="1",
    ),
)

# Slack: always 200, ok and error in the body; next_cursor is empty on the last page.


def _slack(asked: Asked, users: list[dict[str, Any]], url: str) -> Reply:
    size = min(int(asked.query["limit"]), 200)
    first = int(asked.query.get("cursor", "0"))
    following = str(first + size) if first + size < len(users) else ""
    return as_json(
        {
            "ok": True,
            "members": users[first : first + size],
            "cache_ts": 1767323045,
            "response_metadata": {"next_cursor": following},
        }
    )


SLACK = Behaviour(
    data=lambda url: {
        "token": REFERENCE,
        "api_endpoint": f"{url}/api",
        "rate_limit": {"requests_per_second": 1000},
    },
    path="/api/users.list",
    page_size=200,
    record=lambda human: {
        "id": f"U{human.number:08d}",
        "name": f"ada{human.number}",
        "deleted": not human.active,
        "is_bot": False,
        "updated": 1767323045,
        "profile": {"real_name": human.full, "email": human.email},
    },
    expected=lambda human: Expected(f"U{human.number:08d}", human.full, human.email, human.active),
    admits=bearer(SECRET),
    page=_slack,
    unauthorized=as_json({"ok": False, "error": "invalid_auth"}),
    complaint="invalid_auth",
    limited=lambda: as_json({"ok": False, "error": "ratelimited"}, 429, retry_after="1"),
)

# Auth0: client credentials with an audience, pages from 0 with totals, epoch in the reset.


def _auth0(asked: Asked, users: list[dict[str, Any]], url: str) -> Reply:
    assert asked.query["include_totals"] == "true"
    size, number = min(int(asked.query["per_page"]), 100), int(asked.query["page"])
    if size * (number + 1) > 1000:
        return as_json(
            {"statusCode": 400, "error": "Bad Request", "errorCode": "invalid_paging"}, 400
        )
    found = users[number * size : (number + 1) * size]
    return as_json(
        {
            "start": number * size,
            "limit": size,
            "length": len(found),
            "users": found,
            "total": len(users),
        }
    )


AUTH0 = Behaviour(
    data=lambda url: {
        "domain": "acme.eu.auth0.com",
        "client_id": "client",
        "client_secret": REFERENCE,
        "endpoint": url,
    },
    path="/api/v2/users",
    page_size=100,
    record=lambda human: {
        "user_id": f"auth0|{human.number}",
        "name": human.full,
        "email": human.email,
        "updated_at": "2026-01-02T03:04:05.000Z",
        **({} if human.active else {"blocked": True}),
    },
    expected=lambda human: Expected(f"auth0|{human.number}", human.full, human.email, human.active),
    admits=bearer(TOKEN),
    page=_auth0,
    unauthorized=as_json(
        {"statusCode": 401, "error": "Unauthorized", "message": "Invalid token"}, 401
    ),
    complaint="Unauthorized",
    limited=lambda: with_headers(
        as_json({"statusCode": 429, "error": "Too Many Requests"}, 429),
        X_RateLimit_Limit="50",
        X_RateLimit_Remaining="0",
        X_RateLimit_Reset=str(int(time.time()) + 1),
    ),
    token_path="/oauth/token",
    token=issue(
        {
            "grant_type": "client_credentials",
            "client_id": "client",
            "client_secret": SECRET,
            "audience": "https://acme.eu.auth0.com/api/v2/",
        }
    ),
)

# JumpCloud: x-api-key, skip and limit, totalCount.


def _jumpcloud(asked: Asked, users: list[dict[str, Any]], url: str) -> Reply:
    first, size = int(asked.query["skip"]), min(int(asked.query["limit"]), 100)
    return as_json({"totalCount": len(users), "results": users[first : first + size]})


JUMPCLOUD = Behaviour(
    data=lambda url: {"api_key": REFERENCE, "api_endpoint": f"{url}/api"},
    path="/api/systemusers",
    page_size=100,
    record=lambda human: {
        "_id": f"{human.number:024x}",
        "username": f"ada{human.number}",
        "displayname": human.full if human.number % 2 else "",
        "firstname": human.first,
        "lastname": human.last,
        "email": human.email,
        "state": "ACTIVATED" if human.active else "SUSPENDED",
    },
    expected=lambda human: Expected(f"{human.number:024x}", human.full, human.email, human.active),
    admits=lambda asked: asked.headers.get("x-api-key") == SECRET,
    page=_jumpcloud,
    unauthorized=as_json({"message": "Unauthorized", "error": "unauthorized"}, 401),
    complaint="unauthorized",
    limited=lambda: as_json({"message": "Too many requests"}, 429, retry_after="1"),
)

# OneLogin: client credentials by basic auth, a bare list, After-Cursor in a header.


def _onelogin(asked: Asked, users: list[dict[str, Any]], url: str) -> Reply:
    size = min(int(asked.query["limit"]), 1000)
    first = int(asked.query.get("cursor", "0"))
    reply = as_json(users[first : first + size])
    if first + size < len(users):
        reply.headers["After-Cursor"] = str(first + size)
    return reply


ONELOGIN = Behaviour(
    data=lambda url: {
        "subdomain": "acme",
        "client_id": "client",
        "client_secret": REFERENCE,
        "endpoint": url,
    },
    path="/api/2/users",
    page_size=500,
    record=lambda human: {
        "id": human.number,
        "firstname": human.first,
        "lastname": human.last,
        "email": human.email,
        "username": f"ada{human.number}",
        "status": 1 if human.active else 2,
        "updated_at": "2026-01-02T03:04:05.000Z",
    },
    expected=lambda human: Expected(str(human.number), human.full, human.email, human.active),
    admits=bearer(TOKEN),
    page=_onelogin,
    unauthorized=as_json(
        {"statusCode": 401, "name": "UnauthorizedError", "message": "Unauthorized"}, 401
    ),
    complaint="an object with keys message, name, statusCode",
    limited=lambda: with_headers(
        as_json({"statusCode": 429, "message": "rate limit exceeded"}, 429),
        X_RateLimit_Limit="5000",
        X_RateLimit_Remaining="0",
        X_RateLimit_Reset="1",
    ),
    token_path="/auth/oauth2/v2/token",
    token=issue({"grant_type": "client_credentials"}),
)

# Atlassian: bearer API key, data and links.next.


def _atlassian(asked: Asked, users: list[dict[str, Any]], url: str) -> Reply:
    size, first = 100, int(asked.query.get("cursor", "0"))
    links = {"self": f"{url}{asked.path}"}
    if first + size < len(users):
        links["next"] = f"{url}{asked.path}?cursor={first + size}"
    return as_json({"data": users[first : first + size], "links": links, "meta": {"total": 1}})


ATLASSIAN = Behaviour(
    data=lambda url: {"organization": "org-1", "api_key": REFERENCE, "api_endpoint": url},
    path="/admin/v1/orgs/org-1/users",
    page_size=100,
    record=lambda human: {
        "account_id": f"712020:{human.number}",
        "account_type": "atlassian",
        "account_status": "active" if human.active else "inactive",
        "name": human.full,
        "email": human.email,
    },
    expected=lambda human: Expected(
        f"712020:{human.number}", human.full, human.email, human.active
    ),
    admits=bearer(SECRET),
    page=_atlassian,
    unauthorized=as_json({"code": 401, "message": "Unauthorized"}, 401),
    complaint="an object with keys code, message",
    limited=lambda: as_json({"code": 429, "message": "Rate limit"}, 429, retry_after="1"),
)

BEHAVIOURS: dict[str, Behaviour] = {
    "okta": OKTA,
    "entra_id": ENTRA_ID,
    "google_workspace": GOOGLE_WORKSPACE,
    "github": GITHUB,
    "gitlab": GITLAB,
    "slack": SLACK,
    "auth0": AUTH0,
    "jumpcloud": JUMPCLOUD,
    "onelogin": ONELOGIN,
    "atlassian": ATLASSIAN,
}
