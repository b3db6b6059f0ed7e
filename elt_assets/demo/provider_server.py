"""The HTTP side of the embedded provider: routes, authentication and errors."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import socket
from collections.abc import Callable
from itertools import count
from typing import Any, TypeVar, cast

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from elt_assets.demo.edits import Edits
from elt_assets.demo.fault_injection.chaos import Afflictions, Chaos
from elt_assets.demo.fault_injection.fault import Plan
from elt_assets.demo.groups import groups_page, groups_truth, members_page, one_group
from elt_assets.demo.layout import DemoLayout
from elt_assets.demo.page_query import PageQuery
from elt_assets.demo.signin_listing import Outage, SigninListing
from elt_assets.demo.wire import OpenProtocol
from elt_assets.demo.world import Directory
from elt_assets.errors import InvalidInput, NotFound
from elt_assets.identifiers import IntegrationRef

T = TypeVar("T")

_BACKLOG = 2048
_HIGHEST_PORT = 65_535
_NOT_HTTP = 0
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
        "POST /control/chaos/{organization}/{integration}": "order faults; GET their effects",
        "DELETE /control/chaos/{organization}/{integration}": "end the faults",
        "POST /control/signins/{organization}/{integration}": "order days that fail",
    },
}


def build_app(directory: Directory, token: str) -> ASGIApp:
    """The provider as an ASGI application; everything but the index requires `token`."""
    layout = directory.layout
    users = PageQuery(seed=layout.seed, page_size=layout.page_size)
    signins = SigninListing(layout)
    afflictions = Afflictions(share=layout.chaos, seed=layout.seed)

    async def index(_: Request) -> Response:
        return Response(
            msgspec.json.format(msgspec.json.encode(_INDEX)), media_type="application/json"
        )

    async def list_users(request: Request) -> Response:
        snapshot = directory.snapshot(_ref(request))
        return Response(users.page(snapshot, request.query_params), media_type="application/json")

    def one_user(request: Request) -> object:
        user_id = request.path_params["user"]
        found = directory.snapshot(_ref(request)).one(user_id)
        if found is None:
            raise NotFound(f"user {user_id} does not exist")
        return found

    def list_groups(request: Request) -> object:
        return groups_page(
            directory.snapshot(_ref(request)), request.query_params, layout.page_size
        )

    def find_group(request: Request) -> object:
        return one_group(directory.snapshot(_ref(request)), request.path_params["group"])

    def list_members(request: Request) -> object:
        snapshot, group = directory.snapshot(_ref(request)), request.path_params["group"]
        return members_page(snapshot, group, request.query_params, layout.page_size)

    def list_signins(request: Request) -> Response:
        ref, query = _ref(request), request.query_params
        status = signins.failure(ref, query)
        if status is not None:
            return _error(request, status, "out_of_order", "the sign-ins of this day failed")
        return _json(signins.page(ref, query))

    def groups(request: Request) -> object:
        return groups_truth(directory.snapshot(_ref(request)))

    def advance(_: Request) -> object:
        return {"round": directory.advance()}

    def worlds(_: Request) -> object:
        return {
            "round": directory.round,
            "page_size": layout.page_size,
            "worlds": [
                {
                    "organization": ref.organization_id,
                    "integration": ref.integration_id,
                    "users": len(directory.snapshot(ref)),
                }
                for ref in directory.refs()
            ],
        }

    def state(request: Request) -> object:
        snapshot = directory.snapshot(_ref(request))
        return {
            "organization": snapshot.people.ref.organization_id,
            "integration": snapshot.people.ref.integration_id,
            "round": snapshot.people.round,
            "total": len(snapshot),
            "users": snapshot.truth(),
        }

    def requests(request: Request) -> object:
        query = request.query_params
        found = directory.log.read(query.get("org"), query.get("integration"))
        return {"requests": found, "dropped": directory.log.dropped}

    def forget_requests(_: Request) -> object:
        directory.log.clear()
        return {}

    async def edit(request: Request) -> Response:
        edits = await _ordered(request, Edits, "edit")
        snapshot = await run_in_threadpool(directory.edit, _ref(request), edits)
        return _json({"round": snapshot.people.round, "total": len(snapshot)})

    async def outage(request: Request) -> Response:
        ref = _ref(request)
        directory.snapshot(ref)
        return _json(signins.order(ref, await _ordered(request, Outage, "outage")))

    async def chaos(request: Request) -> Response:
        ref = _ref(request)
        directory.snapshot(ref)
        match request.method:
            case "POST":
                suffered = afflictions.order(ref, await _ordered(request, Plan, "plan"))
            case "DELETE":
                suffered = afflictions.lift(ref)
            case _:
                suffered = afflictions.suffered(ref)
        return _json(suffered)

    one = "{organization}/{integration}"
    app = Starlette(
        routes=[
            Route("/", index),
            Route(f"/v1/{one}/users", list_users),
            Route(f"/v1/{one}/users/{{user}}", _answering(one_user)),
            Route(f"/v1/{one}/groups", _answering(list_groups)),
            Route(f"/v1/{one}/groups/{{group}}", _answering(find_group)),
            Route(f"/v1/{one}/groups/{{group}}/members", _answering(list_members)),
            Route(f"/v1/{one}/signins", list_signins),
            Route("/control/worlds", _answering(worlds)),
            Route(f"/control/groups/{one}", _answering(groups)),
            Route(f"/control/state/{one}", _answering(state)),
            Route("/control/advance", _answering(advance), methods=["POST"]),
            Route(f"/control/edit/{one}", edit, methods=["POST"]),
            Route("/control/requests", _answering(requests)),
            Route("/control/requests", _answering(forget_requests), methods=["DELETE"]),
            Route(f"/control/chaos/{one}", chaos, methods=["GET", "POST", "DELETE"]),
            Route(f"/control/signins/{one}", outage, methods=["POST"]),
        ],
        exception_handlers={
            NotFound: _not_found,
            InvalidInput: _bad_request,
            HTTPException: _http_error,
        },
    )
    return Door(Chaos(app, directory, afflictions), directory, token, layout.latency / 1000)


class Door:
    """A middleware that checks the token, numbers and logs requests, and delays answers.

    `latency` is in seconds.
    """

    def __init__(
        self, app: ASGIApp, directory: Directory, token: str, latency: float = 0.0
    ) -> None:
        self._app = app
        self._latency = latency
        self._log = directory.log
        self._credential = token.encode()
        self._numbers = count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["request_id"] = f"req-{next(self._numbers):06d}"

        answered = False

        async def logged(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = True
                self._record(scope, message["status"])
            await send(message)

        app = self._app if scope["path"] == "/" or self._admits(scope) else _unauthorized
        if not scope["path"].startswith("/v1/"):
            await app(scope, receive, send)
            return
        if self._latency:
            await asyncio.sleep(self._latency)
        await app(scope, receive, logged)
        if not answered:
            self._record(scope, _NOT_HTTP)

    def _admits(self, scope: Scope) -> bool:
        for name, value in scope["headers"]:
            if name == b"authorization":
                scheme, _, credential = value.partition(b" ")
                return scheme.lower() == b"bearer" and hmac.compare_digest(
                    credential.strip(), self._credential
                )
        return False

    def _record(self, scope: Scope, status: int) -> None:
        request = Request(scope)
        parts: list[str] = scope["path"].split("/")
        organization, integration = (*parts[2:4], "", "")[:2]
        self._log.add(
            method=scope["method"],
            path=scope["path"],
            organization=organization,
            integration=integration,
            cursor=request.query_params.get("cursor"),
            limit=request.query_params.get("limit"),
            status=status,
        )


def serve(
    layout: DemoLayout,
    *,
    token: str,
    host: str = "127.0.0.1",
    port: int = 0,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve `layout` until SIGTERM or Ctrl-C; `ready` gets the URL once the server answers.

    Port 0 takes a free port. Raises `InvalidInput` if the host is not loopback or the port
    cannot be used.
    """
    with _listening(host, port) as listener:
        address, bound = listener.getsockname()
        server = _Announced(
            uvicorn.Config(
                build_app(Directory(layout), token),
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
    """A server that reports its address once it serves, when signals end it in order.

    Before that, Ctrl-C raises an exception at any place, even where it is swallowed.
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


def _ref(request: Request) -> IntegrationRef:
    return IntegrationRef(request.path_params["organization"], request.path_params["integration"])


async def _ordered(request: Request, shape: type[T], what: str) -> T:
    """The request's body as `shape`. Raises `InvalidInput`."""
    try:
        return msgspec.json.decode(await request.body(), type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"{what}: {error}") from None


def _answering(handler: Callable[[Request], object]) -> Callable[[Request], Any]:
    """An endpoint in a thread, because it may process a million people."""

    async def endpoint(request: Request) -> Response:
        return await run_in_threadpool(lambda: _json(handler(request)))

    return endpoint


def _json(content: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")


def _error(request: Request, status: int, code: str, message: str) -> Response:
    return _json(
        {
            "error": {"code": code, "message": message},
            "requestId": request.scope.get("request_id"),
        },
        status,
    )


async def _not_found(request: Request, error: Exception) -> Response:
    return _error(request, 404, "not_found", str(error))


async def _bad_request(request: Request, error: Exception) -> Response:
    return _error(request, 400, "invalid_request", str(error))


async def _http_error(request: Request, error: Exception) -> Response:
    refused = cast(HTTPException, error)
    code = {404: "not_found", 405: "method_not_allowed"}.get(refused.status_code, "http_error")
    return _error(request, refused.status_code, code, refused.detail)


async def _unauthorized(scope: Scope, receive: Receive, send: Send) -> None:
    message = "a valid bearer token is required"
    response = _error(Request(scope), 401, "unauthorized", message)
    response.headers["www-authenticate"] = "Bearer"
    await response(scope, receive, send)
