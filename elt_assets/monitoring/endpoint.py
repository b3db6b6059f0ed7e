"""The HTTP endpoint for monitoring: /health, /ready and /metrics.

It has no authentication and listens on loopback by default. It names integrations and their
errors, but no person.
"""

from __future__ import annotations

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from elt_assets.client.web_server import Server
from elt_assets.config.settings import Settings
from elt_assets.monitoring.health_report import report
from elt_assets.monitoring.metrics import FleetCollector, exposition
from elt_assets.orchestration.web.request_guard import RequestGuard, RequestRules

_GRACE = 5
"""Seconds in which current requests may finish when the endpoint is stopped."""


def application(settings: Settings, server: Server | None) -> Starlette:
    """The routes of one installation. Handlers are plain functions, so they run in threads."""
    collector = FleetCollector(settings, server)

    def health(_: Request) -> Response:
        found = report(settings, server)
        return JSONResponse(found.as_json(), 200 if found.ok else 503)

    def ready(_: Request) -> Response:
        found = report(settings, server, brief=True)
        return JSONResponse(found.as_json(), 200 if found.ready else 503)

    def metrics(_: Request) -> Response:
        return Response(exposition(collector), media_type=CONTENT_TYPE_LATEST)

    def index(_: Request) -> Response:
        return PlainTextResponse("/health  /ready  /metrics\n")

    access = RequestRules.of(
        settings.allowed_hosts, read_only=True, probed=frozenset({"/health", "/ready"})
    )
    return Starlette(
        routes=[
            Route("/", index),
            Route("/health", health),
            Route("/ready", ready),
            Route("/metrics", metrics),
        ],
        middleware=[Middleware(RequestGuard, access=access)],
    )


def serve(settings: Settings, server: Server | None, host: str, port: int) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    uvicorn.run(
        application(settings, server),
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=_GRACE,
    )
