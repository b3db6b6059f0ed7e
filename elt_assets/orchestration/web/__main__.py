"""`python -m elt_assets.orchestration.web`: Dagster's web server with the request guard.

Dagster has no setting for middleware, so the method that lists it is replaced.
"""

from __future__ import annotations

from typing import Any

from dagster_webserver.cli import create_dagster_webserver_cli
from dagster_webserver.webserver import DagsterWebserver
from starlette.middleware import Middleware

from elt_assets.config.settings import load_settings
from elt_assets.orchestration.web.request_guard import RequestGuard, RequestRules


def main() -> None:
    """Serve until SIGTERM or Ctrl-C."""
    access = RequestRules.of(load_settings().allowed_hosts)
    own = DagsterWebserver.build_middleware

    def guarded(server: Any) -> list[Middleware]:
        return [Middleware(RequestGuard, access=access), *own(server)]

    DagsterWebserver.build_middleware = guarded  # type: ignore[assignment, method-assign]
    command: Any = create_dagster_webserver_cli
    command()(auto_envvar_prefix="DAGSTER_WEBSERVER")


if __name__ == "__main__":
    main()
