"""`elt-assets worker`: run a worker process, once its settings are checked."""

from __future__ import annotations

import os
import sys
import uuid

import click

from elt_assets.cli.console.child_processes import Child, Supervisor
from elt_assets.cli.console.output import note
from elt_assets.cli.console.stop_signals import stopping
from elt_assets.config.addresses import BrokerAddress
from elt_assets.config.settings import Settings, load_settings
from elt_assets.errors import InvalidInput


@click.command(epilog="Example: elt-assets worker --slots 4")
@click.option(
    "--slots",
    type=click.IntRange(1, 256),
    default=2,
    show_default=True,
    help="Runs carried out at once, each in a process of its own.",
)
@click.option(
    "--queue",
    "queues",
    multiple=True,
    help="Queue to take runs from; may be repeated. Default: ELT_ASSETS_WORKER_QUEUE. A run goes "
    "to the one that its tag dagster-celery/queue names.",
)
@click.option("--name", help="Name of this worker on this host, if it has several.")
def worker(slots: int, queues: tuple[str, ...], name: str | None) -> None:
    """Carry out runs that the server hands out, until Ctrl-C or SIGTERM.

    It needs the server's settings (ELT_ASSETS_DAGSTER_URL, ELT_ASSETS_BROKER_URL, where the data
    is) and a home of its own. Stopped, it lets runs commit the batches under way; after 30
    seconds it ends them all the same. Another worker goes on with them.
    """
    settings = load_settings()
    address = broker_of(settings)
    from elt_assets.monitoring.broker_check import look_at_broker
    from elt_assets.orchestration.instance.opening import dagster_home, open_instance

    # Each says in a line what is wrong, which a worker would say in a hundred.
    open_instance(settings).dispose()
    look_at_broker(address)
    environment = {
        **os.environ,
        "ELT_ASSETS_HOME": str(settings.home),
        "DAGSTER_HOME": str(dagster_home(settings)),
    }
    with stopping() as stop:
        supervisor = Supervisor(environment, stop)
        try:
            supervisor.start(worker_process(settings, slots, queues, name))
            note(f"taking runs from {address}; stop with Ctrl-C")
            supervisor.watch()
        finally:
            note("stopping; runs commit the batches under way")
            supervisor.stop()


def broker_of(settings: Settings) -> BrokerAddress:
    """Where workers take runs from. Raises `InvalidInput` where settings do not say."""
    if settings.broker_address is None:
        raise InvalidInput(
            "ELT_ASSETS_BROKER_URL is not set: a worker takes runs from a Redis, for example "
            "redis://127.0.0.1:6379/0"
        )
    return settings.broker_address


def worker_process(
    settings: Settings, slots: int, queues: tuple[str, ...] = (), name: str | None = None
) -> Child:
    """The process that does the work."""
    return Child(
        "the worker",
        (
            sys.executable,
            "-m",
            "elt_assets.orchestration.workers",
            str(slots),
            # Two workers of one name would answer for each other.
            name or f"worker-{uuid.uuid4().hex[:6]}",
            *(queues or (settings.worker_queue,)),
        ),
    )
