"""`elt-assets dev`: web UI and daemon together, on loopback, over this installation.

Belongs here: which processes make up a development server and what they are told. Does not:
running and stopping them (`supervisor`).
"""

from __future__ import annotations

import os
import socket
import sys

import click

from elt_assets.cli.output import note
from elt_assets.cli.stopping import stopping
from elt_assets.cli.supervisor import Child, Supervisor
from elt_assets.errors import EltAssetsError
from elt_assets.settings import load_settings

_HOST = "127.0.0.1"
_DEFINITIONS = ("-m", "elt_assets.definitions")


@click.command(epilog="Example: elt-assets dev --port 3000")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=3000,
    show_default=True,
    help="Port of the web UI on 127.0.0.1.",
)
def dev(port: int) -> None:
    """Run the web UI and the daemon (schedules, sensors, queued runs) until Ctrl-C or SIGTERM."""
    settings = load_settings()
    _refuse_a_port_in_use(port)
    from elt_assets.instance import dagster_home, open_instance

    # Both processes would create a new instance's tables at the same moment, and one would
    # break on what the other has half done.
    open_instance(settings).dispose()
    environment = {
        **os.environ,
        "ELT_ASSETS_HOME": str(settings.home),
        "DAGSTER_HOME": str(dagster_home(settings)),
    }
    with stopping() as stop:
        supervisor = Supervisor(environment, stop)
        try:
            for child in _children(port):
                supervisor.start(child)
            note(f"web UI on http://{_HOST}:{port} in some seconds; stop with Ctrl-C")
            supervisor.watch()
        finally:
            note("stopping web UI and daemon")
            supervisor.stop()


def _children(port: int) -> tuple[Child, ...]:
    run = (sys.executable, "-m")
    return (
        Child(
            "the web server",
            (*run, "dagster_webserver", *_DEFINITIONS, "-h", _HOST, "-p", str(port)),
        ),
        Child("the daemon", (*run, "dagster._daemon", "run", *_DEFINITIONS)),
    )


def _refuse_a_port_in_use(port: int) -> None:
    """Say so before two processes are started that would find out one after the other."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError as error:
            raise EltAssetsError(
                f"port {port} cannot be used ({error.strerror}): stop what listens there or "
                "choose another with --port"
            ) from None
