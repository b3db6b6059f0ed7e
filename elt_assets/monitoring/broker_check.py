"""Check the workers' broker: its version, and the connected workers."""

from __future__ import annotations

from contextlib import closing

from elt_assets.config.addresses import BrokerAddress
from elt_assets.config.secret_refs import Secrets
from elt_assets.errors import EltAssetsError

_PATIENCE = 1.5
"""Seconds that workers have to answer. Their number is unknown, so a check waits this long."""


class BrokerUnusable(EltAssetsError):
    """The broker does not answer or refuses the connection."""


def check_broker(address: BrokerAddress) -> str:
    """Name and version of the broker. Raises `BrokerUnusable` with the reason."""
    # Imported here, because it comes with an extra.
    from redis import Redis
    from redis.exceptions import RedisError

    secrets = Secrets()
    try:
        client = Redis.from_url(address.complete(secrets), socket_connect_timeout=5)
        with closing(client):
            client.ping()
            version = client.info("server").get("redis_version", "?")
    except (RedisError, OSError, ValueError) as error:
        raise BrokerUnusable(
            f"the broker at {address} cannot be used: {secrets.redact(str(error))}; check "
            "ELT_ASSETS_BROKER_URL and ELT_ASSETS_BROKER_PASSWORD"
        ) from None
    secret = "" if address.is_private else ", not encrypted"
    return f"Redis {version} at {address}{secret}"


def listening_workers() -> dict[str, int]:
    """The workers that answer now, with the number of runs that each carries out at once."""
    from kombu.exceptions import OperationalError
    from redis.exceptions import RedisError

    from elt_assets.orchestration.workers.celery_app import worker_app

    app = worker_app()
    try:
        found = app.control.inspect(timeout=_PATIENCE).stats() or {}
    except (OperationalError, RedisError, OSError) as error:
        raise BrokerUnusable(
            f"the broker stopped answering ({type(error).__name__}); check ELT_ASSETS_BROKER_URL"
        ) from None
    finally:
        app.close()
    return {name: int(stats["pool"]["max-concurrency"]) for name, stats in sorted(found.items())}
