"""Directories of any size behind every type of pagination and authentication, for tests.

Each answers as such a provider does, from one list of people. The server is in `serving`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from xml.etree.ElementTree import fromstring

from elt_assets_tests.connectors.serving import Answer, Asked, Reply, as_json

SECRET = "s3cret-of-the-tests"


def people(count: int) -> list[dict[str, Any]]:
    """`count` people, every tenth of them suspended."""
    return [
        {
            "id": f"u{number:06d}",
            "name": f"Person {number}",
            "email": f"person{number}@example.com",
            "status": "SUSPENDED" if number % 10 == 0 else "ACTIVE",
        }
        for number in range(count)
    ]


FIELDS = {"external_id": "id", "name": "name", "email": "email", "active": 'status == "ACTIVE"'}


def _slice(asked: Asked, users: list[dict[str, Any]], start: int, size: int) -> dict[str, Any]:
    return {"items": users[start : start + size], "total": len(users)}


@dataclass
class Pagination:
    """One type: what provider_data says about it, and how it answers."""

    stream: dict[str, Any]
    page: Callable[[Asked, list[dict[str, Any]], int, str], Reply]


def _cursor(asked: Asked, users: list[dict[str, Any]], size: int, url: str) -> Reply:
    start = int(asked.query.get("cursor", "0"))
    following = str(start + size) if start + size < len(users) else None
    return as_json({**_slice(asked, users, start, size), "next": following})


def _next_url(asked: Asked, users: list[dict[str, Any]], size: int, url: str) -> Reply:
    start = int(asked.query.get("skip", "0"))
    following = f"{url}/v1/users?skip={start + size}" if start + size < len(users) else None
    return as_json({**_slice(asked, users, start, size), "@next": following})


def _link_header(asked: Asked, users: list[dict[str, Any]], size: int, url: str) -> Reply:
    start = int(asked.query.get("after", "0"))
    links = [f'<{url}/v1/users>; rel="self"']
    if start + size < len(users):
        links.append(f'<{url}/v1/users?after={start + size}>; rel="next"')
    return as_json(users[start : start + size], link=", ".join(links))


def _page(asked: Asked, users: list[dict[str, Any]], size: int, url: str) -> Reply:
    size = min(int(asked.query.get("per_page", size)), size)
    return as_json(_slice(asked, users, (int(asked.query["page"]) - 1) * size, size))


def _offset(asked: Asked, users: list[dict[str, Any]], size: int, url: str) -> Reply:
    size = min(int(asked.query["limit"]), size)
    return as_json(_slice(asked, users, int(asked.query["offset"]), size))


def _scim(asked: Asked, users: list[dict[str, Any]], size: int, url: str) -> Reply:
    start, size = int(asked.query["startIndex"]) - 1, min(int(asked.query["count"]), size)
    found = users[start : start + size]
    return as_json(
        {
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
            "totalResults": len(users),
            "startIndex": start + 1,
            "itemsPerPage": len(found),
            "Resources": found,
        }
    )


def _none(asked: Asked, users: list[dict[str, Any]], size: int, url: str) -> Reply:
    return as_json(users)


def _keyset(asked: Asked, users: list[dict[str, Any]], size: int, url: str) -> Reply:
    """Users behind a key, by their ids."""
    found = asked.query.get("filter", 'id gt ""')
    after = found.removeprefix('id gt "').removesuffix('"')
    size = min(int(asked.query["limit"]), size)
    return as_json({"items": [user for user in users if user["id"] > after][:size]})


def _json(asked: Asked, users: list[dict[str, Any]], size: int, url: str) -> Reply:
    if asked.method != "POST" or asked.headers["content-type"] != "application/json":
        return as_json({"error": "not_json"}, 415)
    sent = json.loads(asked.body)
    if sent["query"] != {"kind": "Müller", "org": "acme"}:
        return as_json({"error": "wrong_query"}, 400)
    start = sent["page"].get("from", 0)
    following = start + size if start + size < len(users) else None
    return as_json({**_slice(asked, users, start, size), "next": following})


def _form(asked: Asked, users: list[dict[str, Any]], size: int, url: str) -> Reply:
    if asked.method != "POST" or "offset" in asked.query or asked.form["kind"] != "all users":
        return as_json({"error": "not_a_form"}, 400)
    return as_json(
        _slice(asked, users, int(asked.form["offset"]), min(int(asked.form["limit"]), size))
    )


def _graphql(asked: Asked, users: list[dict[str, Any]], size: int, url: str) -> Reply:
    sent = json.loads(asked.body)
    if sent["query"] != GRAPHQL:
        return as_json({"errors": [{"message": "Cannot query field"}], "data": None})
    variables = sent["variables"]
    start, size = int(variables.get("after") or 0), min(variables["first"], size)
    more = start + size < len(users)
    found = {
        "nodes": users[start : start + size],
        "pageInfo": {"hasNextPage": more, "endCursor": str(min(start + size, len(users)))},
    }
    return as_json({"data": {"users": found}})


def _xml(asked: Asked, users: list[dict[str, Any]], size: int, url: str) -> Reply:
    """A SOAP-like list, whose names have a prefix."""
    sent = fromstring(asked.body)
    assert sent.tag == "{urn:acme}find"
    assert sent.findtext("{urn:acme}organization") == "acme"
    start = int(sent.findtext("{urn:acme}after") or 0)
    more = f"<a:next>{start + size}</a:next>" if start + size < len(users) else "<a:next/>"
    listed = "".join(
        f"<a:user><a:id>{user['id']}</a:id><a:status>{user['status']}</a:status>"
        f"<a:name>{user['name']}</a:name><a:email>{user['email']}</a:email></a:user>"
        for user in users[start : start + size]
    )
    body = f'<a:found xmlns:a="urn:acme"><a:users>{listed}</a:users>{more}</a:found>'
    return Reply(body.encode(), 200, {"Content-Type": "text/xml"})


GRAPHQL = """\
query People($first: Int!, $after: String) {
  users(first: $first, after: $after) {
    nodes {id name email status}
    pageInfo {hasNextPage endCursor}
  }
}
"""


def first_of(asked: Asked) -> int:
    """The number of the first user that a request asks for, pages having 100."""
    sent: dict[str, Any] = dict(asked.query)
    if asked.headers.get("content-type") == "application/json":
        document = json.loads(asked.body)
        sent |= document.get("variables") or document["page"]
    elif asked.body.startswith(b"<"):
        return int(fromstring(asked.body).findtext("{urn:acme}after") or 0)
    elif asked.body:
        sent |= asked.form
    if "filter" in sent:
        return int(sent["filter"].removeprefix('id gt "u').removesuffix('"')) + 1
    if "page" in sent:
        return (int(sent["page"]) - 1) * 100
    if "startIndex" in sent:
        return int(sent["startIndex"]) - 1
    names = ("cursor", "skip", "after", "offset", "from")
    return next((int(sent[name]) for name in names if name in sent), 0)


PAGINATIONS: dict[str, Pagination] = {
    "cursor": Pagination(
        {
            "records": "items",
            "total": "total",
            "pagination": {"type": "cursor", "cursor": "next", "param": "cursor"},
        },
        _cursor,
    ),
    "next_url": Pagination(
        {"records": "items", "pagination": {"type": "next_url", "url": "@next"}}, _next_url
    ),
    "link_header": Pagination({"pagination": {"type": "link_header"}}, _link_header),
    "page": Pagination(
        {"records": "items", "pagination": {"type": "page", "size_param": "per_page"}}, _page
    ),
    "offset": Pagination(
        {"records": "items", "total": "total", "pagination": {"type": "offset"}}, _offset
    ),
    "scim": Pagination({"records": "Resources", "pagination": {"type": "scim"}}, _scim),
    "none": Pagination({"pagination": {"type": "none"}}, _none),
    "keyset": Pagination(
        {
            "records": "items",
            "pagination": {
                "type": "keyset",
                "param": "filter",
                "value": 'id gt "{key}"',
                "size_param": "limit",
            },
        },
        _keyset,
    ),
    "json": Pagination(
        {
            "records": "items",
            "total": "total",
            "body": {
                "type": "json",
                "content": {"query": {"kind": "Müller", "org": "{organization_id}"}, "page": {}},
            },
            "pagination": {"type": "cursor", "cursor": "next", "param": "page.from"},
        },
        _json,
    ),
    "form": Pagination(
        {
            "records": "items",
            "total": "total",
            "body": {"type": "form", "content": {"kind": "all users"}},
            "pagination": {"type": "offset"},
        },
        _form,
    ),
    "graphql": Pagination(
        {
            "records": "data.users.nodes",
            "more": "data.users.pageInfo.hasNextPage",
            "body": {"type": "graphql", "query": GRAPHQL, "variables": {"first": 100}},
            "pagination": {
                "type": "cursor",
                "cursor": "data.users.pageInfo.endCursor",
                "param": "after",
            },
        },
        _graphql,
    ),
    "xml": Pagination(
        {
            "xml": {},
            "records": "found.users.user",
            "body": {
                "type": "xml",
                "content": '<find xmlns="urn:acme"><organization>{organization_id}</organization>'
                "<after>{cursor}</after></find>",
            },
            "pagination": {"type": "cursor", "cursor": "found.next", "param": "cursor"},
        },
        _xml,
    ),
}


@dataclass
class Tokens:
    """A token endpoint: hands out tokens and forgets them when told."""

    lifetime: float = 3600
    issued: list[str] = field(default_factory=list)
    forms: list[dict[str, str]] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    good: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, asked: Asked) -> Reply:
        with self.lock:
            self.asked.append(asked)
            self.forms.append(asked.form)
            token = f"issued-token-{len(self.issued) + 1}"
            self.issued.append(token)
            self.good.add(token)
        return as_json({"access_token": token, "token_type": "Bearer", "expires_in": self.lifetime})


@dataclass
class Auth:
    """One type of auth: what provider_data says about it, and whether a request has it."""

    data: Callable[[str], dict[str, Any]]
    admits: Callable[[Asked, Tokens], bool]


_BASIC = "Basic " + base64.b64encode(f"svc:{SECRET}".encode()).decode()


def _signs(asked: Asked) -> bool:
    """Whether a request carries the signature of SECRET over what it asks for."""
    moment = asked.headers.get("x-timestamp", "")
    body_hash = hashlib.sha256(asked.body).hexdigest()
    signed = f"{asked.method}\n{asked.path}\n{moment}\n{body_hash}"
    digest = hmac.new(SECRET.encode(), signed.encode(), "sha256").digest()
    expected = f"acme-app:{base64.b64encode(digest).decode()}"
    return abs(time.time() - float(moment or 0)) < 300 and (
        asked.headers.get("authorization") == f"HMAC {expected}"
    )


AUTHS: dict[str, Auth] = {
    "bearer": Auth(
        lambda url: {"type": "bearer", "token": {"env": "TEST_SECRET"}},
        lambda asked, _: asked.headers.get("authorization") == f"Bearer {SECRET}",
    ),
    "api_key header": Auth(
        lambda url: {"type": "api_key", "key": {"env": "TEST_SECRET"}, "header": "X-Api-Key"},
        lambda asked, _: asked.headers.get("x-api-key") == SECRET,
    ),
    "api_key query": Auth(
        lambda url: {"type": "api_key", "key": {"env": "TEST_SECRET"}, "param": "api_key"},
        lambda asked, _: asked.query.get("api_key") == SECRET,
    ),
    "basic": Auth(
        lambda url: {"type": "basic", "username": "svc", "password": {"env": "TEST_SECRET"}},
        lambda asked, _: asked.headers.get("authorization") == _BASIC,
    ),
    "another scheme": Auth(
        lambda url: {"type": "bearer", "token": {"env": "TEST_SECRET"}, "scheme": "ID"},
        lambda asked, _: asked.headers.get("authorization") == f"ID {SECRET}",
    ),
    "several": Auth(
        lambda url: {
            "type": "several",
            "parts": [
                {"type": "api_key", "key": {"env": "TEST_SECRET"}, "header": "X-App-Key"},
                {"type": "basic", "username": "svc", "password": {"env": "TEST_SECRET"}},
            ],
        },
        lambda asked, _: (
            asked.headers.get("x-app-key") == SECRET
            and asked.headers.get("authorization") == _BASIC
        ),
    ),
    "hmac": Auth(
        lambda url: {
            "type": "hmac",
            "key": {"env": "TEST_SECRET"},
            "signed": "{method}\n{path}\n{timestamp}\n{body_hash}",
            "encoding": "base64",
            "value": "HMAC acme-app:{signature}",
            "timestamp_header": "X-Timestamp",
        },
        lambda asked, _: _signs(asked),
    ),
    "aws_signature": Auth(
        lambda url: {
            "type": "aws_signature",
            "access_key": "AKIDEXAMPLE",
            "secret_key": {"env": "TEST_SECRET"},
            "region": "eu-central-1",
            "service": "identitystore",
        },
        lambda asked, _: asked.headers.get("authorization", "").startswith(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"
        ),
    ),
    "session": Auth(
        lambda url: {
            "type": "session",
            "login_url": f"{url}/oauth/token",
            "content": {"username": "svc", "password": {"env": "TEST_SECRET"}},
            "form": "form",
            "token": "access_token",
            "header": "X-Session",
        },
        lambda asked, tokens: asked.headers.get("x-session") in tokens.good,
    ),
    "oauth2_client_credentials": Auth(
        lambda url: {
            "type": "oauth2_client_credentials",
            "token_url": f"{url}/oauth/token",
            "client_id": "svc",
            "client_secret": {"env": "TEST_SECRET"},
        },
        lambda asked, tokens: (
            asked.headers.get("authorization", "").removeprefix("Bearer ") in tokens.good
        ),
    ),
}


def directory(
    users: list[dict[str, Any]],
    pagination: str,
    auth: str,
    url: str,
    size: int = 100,
    tokens: Tokens | None = None,
) -> Answer:
    """A provider of `users`: 401 without the right credentials, else a page."""
    issuer = tokens or Tokens()

    def answer(asked: Asked) -> Reply:
        if asked.path == "/oauth/token":
            return issuer.answer(asked)
        if not AUTHS[auth].admits(asked, issuer):
            return as_json({"error": "unauthorized"}, 401)
        return PAGINATIONS[pagination].page(asked, users, size, url)

    return answer


def directory_data(pagination: str, auth: str, url: str, **more: Any) -> dict[str, Any]:
    """provider_data that reads such a provider."""
    return {
        "api_endpoint": f"{url}/v1",
        "auth": AUTHS[auth].data(url),
        "streams": {
            "users": {"path": "/users", "fields": FIELDS, **PAGINATIONS[pagination].stream, **more}
        },
    }
