"""The request guard of a server without authentication: refuse requests that another site caused.

A page of another site, open in a browser on this machine, can send requests to loopback: with a
foreign Origin, with a foreign Host (DNS rebinding), and without a preflight only GET, or POST of a
form or of text. An integration can send whatever its tenant writes; its requests are recognized by
a header that the tenant cannot remove.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qsl, urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from elt_assets.connectors.http.exchange import OF_AN_INTEGRATION

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_READING = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class RequestRules:
    """Which requests a server answers."""

    hosts: frozenset[str]
    """Host names of the server, without ports."""
    read_only: bool = False
    probed: frozenset[str] = frozenset()
    """Paths that are answered under any host name, for the probes of orchestrators."""

    @classmethod
    def of(
        cls, allowed_hosts: str, *, read_only: bool = False, probed: frozenset[str] = frozenset()
    ) -> RequestRules:
        """Access under loopback names and the names of a list separated by commas."""
        named = {name.strip().lower() for name in allowed_hosts.split(",") if name.strip()}
        return cls(LOOPBACK | named, read_only, probed)

    def refusal(
        self, kind: str, method: str, path: str, query: str, headers: Mapping[str, str]
    ) -> tuple[HTTPStatus, str] | None:
        """The status and reason of a refusal, or None. `kind` is http or websocket."""
        if OF_AN_INTEGRATION.lower() in headers:
            return HTTPStatus.FORBIDDEN, "an integration may not send this request"
        host = headers.get("host", "")
        if path not in self.probed and not self._is_known(host):
            return (
                HTTPStatus.MISDIRECTED_REQUEST,
                "this server does not answer under that name; add the name to "
                "ELT_ASSETS_ALLOWED_HOSTS",
            )
        origin = headers.get("origin")
        if origin is not None and not _is_same(origin, host):
            return HTTPStatus.FORBIDDEN, "a page of another site may not send this request"
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and not (
            method in _READING and headers.get("sec-fetch-mode") == "navigate"
        ):
            return HTTPStatus.FORBIDDEN, "another site may not send this request"
        if kind != "http":
            return None
        if method not in (_READING if self.read_only else _SAFE):
            if self.read_only:
                return HTTPStatus.METHOD_NOT_ALLOWED, "this server is read-only"
            if _media_type(headers.get("content-type", "")) != "application/json":
                return HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send application/json"
        elif path.rstrip("/").endswith("/graphql") and _has_query(query):
            return HTTPStatus.METHOD_NOT_ALLOWED, "send a query by POST, as application/json"
        return None

    def _is_known(self, host: str) -> bool:
        try:
            name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
        except ValueError:
            return False
        # A name can be made to resolve to any address. A read-only server accepts plain addresses.
        return name in self.hosts or (self.read_only and _is_address(name))


class RequestGuard:
    """An ASGI middleware that answers the requests that `access` refuses."""

    def __init__(self, app: ASGIApp, access: RequestRules) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refused = self._access.refusal(
            scope["type"],
            scope.get("method", "GET"),
            scope["path"],
            scope["query_string"].decode("latin-1"),
            Headers(scope=scope),
        )
        if refused is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": refused[1]})
        else:
            await PlainTextResponse(f"{refused[1]}\n", refused[0])(scope, receive, send)


def _is_same(origin: str, host: str) -> bool:
    scheme, _, rest = origin.lower().partition("://")
    return scheme in ("http", "https") and rest == host.lower()


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _has_query(query: str) -> bool:
    return any(name == "query" for name, _ in parse_qsl(query, keep_blank_values=True))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
