"""The Celery application of producers and workers."""

from __future__ import annotations

from typing import Any

from celery import Celery
from dagster_celery.make_app import make_app
from kombu import Queue

from elt_assets.config.secret_refs import Secrets
from elt_assets.config.settings import Settings, load_settings
from elt_assets.errors import InvalidInput

_LONGER_THAN_ANY_RUN = 24 * 3600
"""Seconds after which Redis delivers an unacknowledged message again. A run must have ended by then
(`max_runtime_seconds`, six hours), or it would start twice. Health checks notice a dead worker long
before."""

_CONNECTION = {
    "visibility_timeout": _LONGER_THAN_ANY_RUN,
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
    "health_check_interval": 25,
    # The producer retries once, and so does the daemon; other runs wait meanwhile.
    "max_retries": 1,
    "interval_start": 0,
    "interval_step": 0.2,
    "interval_max": 0.5,
}

CONFIGURATION: dict[str, Any] = {
    # A worker takes only as many messages as it has free slots, so other workers get the rest.
    "worker_prefetch_multiplier": 1,
    "task_acks_late": True,
    # Dagster's instance has the results of runs, and outlives the broker.
    "task_ignore_result": True,
    "task_store_errors_even_if_ignored": False,
    "broker_transport_options": _CONNECTION,
    "broker_connection_timeout": 5,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    # Messages are data only: a message cannot create a Python object.
    "accept_content": ["json"],
    "task_serializer": "json",
    # A new process for each run: no memory or thread of a library stays for the next run, and
    # forking is cheap, because the parent has imported everything.
    "worker_max_tasks_per_child": 1,
    "worker_redirect_stdouts": False,
    "worker_hijack_root_logger": False,
    "worker_send_task_events": False,
    # A lost connection to the broker must not end a run.
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "worker_enable_prefetch_count_reduction": False,
}


def app_args(settings: Settings) -> dict[str, Any]:
    """The arguments of dagster-celery's application. Raises `InvalidInput` without a broker."""
    address = settings.broker_address
    if address is None:
        raise InvalidInput(
            "dagster.yaml sends runs to workers, but ELT_ASSETS_BROKER_URL is not set: set it, or "
            "delete dagster.yaml to run without workers"
        )
    return {
        "broker": address.complete(Secrets()),
        "backend": None,
        "include": None,
        "config_source": CONFIGURATION,
        "default_queue": settings.worker_queue,
    }


def prepared(app: Celery, queue: str) -> Celery:
    """`app` of dagster-celery with our queue in place of its own."""
    app.conf.task_queues = [Queue(queue, routing_key=queue)]
    app.conf.task_default_queue = queue
    app.conf.task_routes = {}
    return app


def worker_app() -> Celery:
    """The application of a worker, with its tasks, from the settings."""
    from elt_assets.orchestration.workers.worker_tasks import add_tasks

    settings = load_settings()
    arguments = app_args(settings)
    queue = arguments.pop("default_queue")
    return add_tasks(prepared(make_app(arguments), queue))  # type: ignore[no-untyped-call]
