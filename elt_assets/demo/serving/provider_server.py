"""The embedded provider as a process that listens: its application, address and signals."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from elt_assets.demo.layout import DemoLayout
from elt_assets.demo.serving.answers import ERROR_HANDLERS
from elt_assets.demo.serving.control_routes import ControlRoutes
from elt_assets.demo.serving.door import Door
from elt_assets.demo.serving.provider_routes import ProviderRoutes
from elt_assets.demo.serving.random_failures import RandomFailures
from elt_assets.demo.signin_listing import SigninListing
from elt_assets.demo.wire import OpenProtocol
from elt_assets.demo.world import Directory
from elt_assets.errors import InvalidInput

_BACKLOG = 2048
_HIGHEST_PORT = 65_535
_INDEX = {
    "name": "elt_assets embedded provider",
    "authentication": "Authorization: Bearer <token>",
    "routes": {
        "GET /v1/{organization}/{integration}/users": "people; cursor, page, offset, limit, status",
        "GET /v1/{organization}/{integration}/groups": "departments; cursor, limit",
        "GET /v1/{organization}/{integration}/groups/{group}": "one group",
        "GET /v1/{organization}/{integration}/groups/{group}/members": "members of a group",
        "GET /v1/{organization}/{integration}/signins": "sign-ins; from, to, cursor, limit",
        "GET /control/worlds": "integrations",
        "GET /control/state/{organization}/{integration}": "users that should be held now",
        "GET /control/groups/{organization}/{integration}": "groups and memberships now",
        "POST /control/advance": "advance all integrations by one round",
        "POST /control/edit/{organization}/{integration}": "replace, remove, change, add",
        "GET /control/requests": "requested pages; org, integration",
        "DELETE /control/requests": "delete the log of requests",
        "POST /control/signins/{organization}/{integration}": "order days that fail",
    },
}


def build_app(directory: Directory, token: str) -> ASGIApp:
    """The provider as an ASGI application; everything but the index requires `token`."""
    layout = directory.layout
    app = RandomFailures(routed(directory), share=layout.chaos, seed=layout.seed)
    return Door(app, directory, token, layout.latency / 1000)


Application = Callable[[Directory, str], ASGIApp]
"""Builds the application that serves a directory to the bearer of a token."""


def routed(directory: Directory, *further: Route) -> Starlette:
    """The provider's routes and `further` ones, without middleware."""
    signins = SigninListing(directory.layout)
    return Starlette(
        routes=[
            Route("/", _index),
            *ProviderRoutes(directory, signins).routes(),
            *ControlRoutes(directory, signins).routes(),
            *further,
        ],
        exception_handlers=ERROR_HANDLERS,
    )


def serve(
    layout: DemoLayout,
    *,
    token: str,
    host: str = "127.0.0.1",
    port: int = 0,
    ready: Callable[[str], None] | None = None,
    application: Application = build_app,
) -> None:
    """Serve `layout` until SIGTERM or Ctrl-C; `ready` gets the URL once the server answers.

    Port 0 takes a free port. Raises `InvalidInput` if the host is not loopback or the port
    cannot be used.
    """
    with _listening(host, port) as listener:
        address, bound = listener.getsockname()
        server = _Announced(
            uvicorn.Config(
                application(Directory(layout), token),
                access_log=False,
                http=OpenProtocol,
                log_level="warning",
                server_header=False,
                lifespan="off",
                ws="none",
                timeout_graceful_shutdown=1,
            ),
            ready,
            f"http://{address}:{bound}",
        )
        server.run(sockets=[listener])


class _Announced(uvicorn.Server):
    """A server that reports its address once it serves, when signals stop it in an orderly way.

    Earlier, Ctrl-C raises an exception anywhere, even in code that swallows it.
    """

    def __init__(
        self, config: uvicorn.Config, ready: Callable[[str], None] | None, url: str
    ) -> None:
        super().__init__(config)
        self._ready = ready
        self._url = url

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to serve, and report the address."""
        await super().startup(sockets=sockets)
        if self._ready is not None:
            self._ready(self._url)


def _listening(host: str, port: int) -> socket.socket:
    try:
        loopback = host == "localhost" or ipaddress.IPv4Address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise InvalidInput(f"host {host!r}: the embedded provider serves 127.0.0.1 only")
    if not 0 <= port <= _HIGHEST_PORT:
        raise InvalidInput(f"port {port} is out of range, use 0 to {_HIGHEST_PORT}")
    try:
        return socket.create_server((host, port), backlog=_BACKLOG)
    except OSError as error:
        raise InvalidInput(f"port {port} of {host} cannot be used: {error}") from None


async def _index(_: Request) -> Response:
    return Response(msgspec.json.format(msgspec.json.encode(_INDEX)), media_type="application/json")
