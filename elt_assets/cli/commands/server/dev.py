"""`elt-assets dev`: run web UI, daemon, health endpoint and feed over this installation."""

from __future__ import annotations

import socket
import sys

import click

from elt_assets.cli.commands.server.dev_address import announced
from elt_assets.cli.commands.server.worker import broker_of, worker_process
from elt_assets.cli.console.child_processes import Child, supervised
from elt_assets.cli.console.output import note
from elt_assets.config.settings import load_settings
from elt_assets.errors import EltAssetsError
from elt_assets.orchestration.dagster_internals import DAEMON

_HOST = "127.0.0.1"
_DEFINITIONS = ("-m", "elt_assets.definitions")


@click.command(epilog="Example: elt-assets dev --port 3000 --health-port 8080")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=3000,
    show_default=True,
    help="Port of the web UI on 127.0.0.1.",
)
@click.option(
    "--health-port",
    type=click.IntRange(1, 65535),
    help="Port of /health and /metrics. Default: ELT_ASSETS_HEALTH_PORT, 8080.",
)
@click.option(
    "--feed-port",
    type=click.IntRange(1, 65535),
    help="Port of /feed and /snapshot. Default: ELT_ASSETS_FEED_PORT, 8090.",
)
@click.option(
    "--workers",
    type=click.IntRange(0, 64),
    default=0,
    help="Also start this many workers, for one run at a time each; needs ELT_ASSETS_BROKER_URL.",
)
def dev(port: int, health_port: int | None, feed_port: int | None, workers: int) -> None:
    """Run web UI, daemon (schedules, sensors, queued runs), health and feed until Ctrl-C.

    With ELT_ASSETS_BROKER_URL, `elt-assets worker` carries out the runs, on any host.
    When stopped, runs commit their current batches; after 30 seconds they are killed.
    Interrupted syncs continue at the next start.
    """
    settings = load_settings()
    health = (settings.health_host, health_port or settings.health_port)
    feed = (settings.feed_host, feed_port or settings.feed_port)
    broker = broker_of(settings) if workers else settings.broker_address
    refuse_a_port_in_use(_HOST, port, "--port")
    refuse_a_port_in_use(*health, "--health-port")
    refuse_a_port_in_use(*feed, "--feed-port")
    from elt_assets.monitoring.broker_check import check_broker
    from elt_assets.orchestration.instance.dead_runs import end_dead_runs
    from elt_assets.orchestration.instance.opening import dagster_home, open_instance

    # Web server and daemon would create a new instance's tables at the same moment, and one of
    # them would fail on tables that the other has half created.
    with open_instance(settings) as instance:
        if ended := end_dead_runs(instance, settings):
            note(f"runs of a server that was killed: {ended:,}; their syncs continue")
    if broker is not None:
        check_broker(broker)
    with (
        announced(settings, f"http://{_HOST}:{port}"),
        supervised(settings, dagster_home(settings)) as supervisor,
    ):
        for child in _children(port, health, feed):
            supervisor.start(child)
        for _ in range(workers):
            supervisor.start(worker_process(settings, slots=1))
        if settings.egress_policy.anything:
            note(
                "integrations may connect anywhere, to this machine and its networks too; "
                "ELT_ASSETS_EGRESS=public closes these"
            )
        note(f"web UI on http://{_HOST}:{port} in some seconds; stop with Ctrl-C")
        supervisor.watch()


def _children(port: int, health: tuple[str, int], feed: tuple[str, int]) -> tuple[Child, ...]:
    run = (sys.executable, "-m")
    web = ("elt_assets.orchestration.web", *_DEFINITIONS, "-h", _HOST, "-p", str(port))
    endpoint = ("--url", f"http://{_HOST}:{port}")
    return (
        Child("the web server", (*run, *web)),
        Child("the daemon", (*run, DAEMON, "run", *_DEFINITIONS)),
        Child("the health endpoint", (*run, *_served("serve-health", health), *endpoint)),
        Child("the feed", (*run, *_served("serve-feed", feed))),
    )


def _served(command: str, at: tuple[str, int]) -> tuple[str, ...]:
    host, port = at
    return ("elt_assets", command, "--host", host, "--port", str(port))


def refuse_a_port_in_use(host: str, port: int, option: str) -> None:
    """Raise `EltAssetsError` if the port is in use, before processes are started that need it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise EltAssetsError(
                f"port {port} cannot be used on {host} ({error.strerror}): stop what listens "
                f"there or choose another with {option}"
            ) from None
