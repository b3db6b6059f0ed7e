"""Dagster's web server over a test's instance, on a free port, without a daemon.

Runs that a client starts stay in the queue, where a test looks at them.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import dagster as dg
import uvicorn
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import ModuleTarget
from dagster_webserver.webserver import DagsterWebserver


@contextmanager
def web_server(instance: dg.DagsterInstance) -> Iterator[str]:
    """The address of a web server that has loaded this project."""
    target = ModuleTarget("elt_assets.definitions", None, os.getcwd(), None)
    # A code server that is left to end by itself is reported to whichever test comes then.
    wait = patch.object(
        dg.DagsterInstance, "wait_for_local_code_server_processes_on_shutdown", True
    )
    with (
        wait,
        WorkspaceProcessContext(instance, target) as context,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        server = uvicorn.Server(
            uvicorn.Config(DagsterWebserver(context).create_asgi_app(), log_level="critical")
        )
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
