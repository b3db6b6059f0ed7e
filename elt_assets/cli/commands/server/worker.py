"""`elt-assets worker`: run a worker process, after checking its settings."""

from __future__ import annotations

import sys
import uuid

import click

from elt_assets.cli.console.child_processes import Child, supervised
from elt_assets.cli.console.output import note
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
    help="Queue to take runs from; may be repeated. Default: ELT_ASSETS_WORKER_QUEUE. The run tag "
    "dagster-celery/queue sends a run to another queue.",
)
@click.option("--name", help="Name of this worker, needed where a host has several.")
def worker(slots: int, queues: tuple[str, ...], name: str | None) -> None:
    """Carry out runs that the server distributes, until Ctrl-C or SIGTERM.

    A worker needs the server's settings (ELT_ASSETS_DAGSTER_URL, ELT_ASSETS_BROKER_URL, and those
    of the data) and a home of its own. When it is stopped, its runs commit their current batches;
    after 30 seconds they are killed. Another worker continues them.
    """
    settings = load_settings()
    address = broker_of(settings)
    from elt_assets.monitoring.broker_check import check_broker
    from elt_assets.orchestration.instance.opening import dagster_home, open_instance

    # These checks report in one line what a worker would report in a hundred.
    open_instance(settings).dispose()
    check_broker(address)
    with supervised(settings, dagster_home(settings)) as supervisor:
        supervisor.start(worker_process(settings, slots, queues, name))
        note(f"taking runs from {address}; stop with Ctrl-C")
        supervisor.watch()


def broker_of(settings: Settings) -> BrokerAddress:
    """The broker of the workers. Raises `InvalidInput` if the settings name none."""
    if settings.broker_address is None:
        raise InvalidInput(
            "ELT_ASSETS_BROKER_URL is not set: a worker takes runs from a Redis, for example "
            "redis://127.0.0.1:6379/0"
        )
    return settings.broker_address


def worker_process(
    settings: Settings, slots: int, queues: tuple[str, ...] = (), name: str | None = None
) -> Child:
    """The process that carries out the runs."""
    # With two workers of one name, each would answer messages that are meant for the other.
    name = name or f"worker-{uuid.uuid4().hex[:6]}"
    command = (sys.executable, "-m", "elt_assets.orchestration.workers", str(slots), name)
    return Child("the worker", (*command, *(queues or (settings.worker_queue,))))
