"""The Celery application of producers and workers: how messages travel."""

from __future__ import annotations

from typing import Any

from celery import Celery
from dagster_celery.make_app import make_app
from kombu import Queue

from elt_assets.config.secret_refs import Secrets
from elt_assets.config.settings import Settings, load_settings
from elt_assets.errors import InvalidInput

_LONGER_THAN_ANY_RUN = 24 * 3600
"""Seconds after which Redis gives a message to somebody else whose worker has not said that it
is done with it. A run must have ended by then (`max_runtime_seconds`, six hours), or it would be
started twice. Who died is noticed by asking, long before."""

_CONNECTION = {
    "visibility_timeout": _LONGER_THAN_ANY_RUN,
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
    "health_check_interval": 25,
    # The producer retries once, and so does the daemon; others wait for it meanwhile.
    "max_retries": 1,
    "interval_start": 0,
    "interval_step": 0.2,
    "interval_max": 0.5,
}

CONFIGURATION: dict[str, Any] = {
    # A worker takes as many messages as it has free slots: what waits is there for everybody.
    "worker_prefetch_multiplier": 1,
    "task_acks_late": True,
    # What became of a run is in Dagster's instance, which outlives the broker.
    "task_ignore_result": True,
    "task_store_errors_even_if_ignored": False,
    "broker_transport_options": _CONNECTION,
    "broker_connection_timeout": 5,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    # Messages are data: nobody who can write to the broker gets an object made of what he sends.
    "accept_content": ["json"],
    "task_serializer": "json",
    # A run leaves nothing behind for the next one. Forking is cheap, because the parent has
    # everything imported; what libraries keep of memory and threads is not.
    "worker_max_tasks_per_child": 1,
    "worker_redirect_stdouts": False,
    "worker_hijack_root_logger": False,
    "worker_send_task_events": False,
    # A run that the broker cannot tell of its end must not be thrown away for it.
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "worker_enable_prefetch_count_reduction": False,
}


def app_args(settings: Settings) -> dict[str, Any]:
    """What dagster-celery makes an application of. Raises `InvalidInput` without a broker."""
    address = settings.broker_address
    if address is None:
        raise InvalidInput(
            "dagster.yaml has runs carried out by workers, and ELT_ASSETS_BROKER_URL is not set: "
            "set it, or delete that dagster.yaml to have one without workers written"
        )
    return {
        "broker": address.complete(Secrets()),
        "backend": None,
        "include": None,
        "config_source": CONFIGURATION,
        "default_queue": settings.worker_queue,
    }


def prepared(app: Celery, queue: str) -> Celery:
    """`app`, as dagster-celery has made it, with our queue instead of its own."""
    app.conf.task_queues = [Queue(queue, routing_key=queue)]
    app.conf.task_default_queue = queue
    app.conf.task_routes = {}
    return app


def worker_app() -> Celery:
    """The application of a worker, with the tasks it can carry out; read from settings."""
    from elt_assets.orchestration.workers.worker_tasks import add_tasks

    settings = load_settings()
    arguments = app_args(settings)
    queue = arguments.pop("default_queue")
    return add_tasks(prepared(make_app(arguments), queue))  # type: ignore[no-untyped-call]
