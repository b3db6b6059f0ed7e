"""Whoever talks to the broker over TLS makes sure that it is the broker."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from kombu import pools

from elt_assets.config.settings import load_settings
from elt_assets.monitoring.broker_check import BrokerUnusable, check_broker, listening_workers
from elt_assets_tests.testbed.servers import Broker


def look() -> object:
    """What the health check asks."""
    address = load_settings().broker_address
    assert address is not None
    return check_broker(address)


@pytest.fixture
def over_tls(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Say with which options of its address the broker is spoken to."""

    def speak(options: str) -> None:
        for name, value in broker.settings.items():
            monkeypatch.setenv(name, value)
        address = f"rediss://127.0.0.1:{broker.tls_port}/0{options}"
        monkeypatch.setenv("ELT_ASSETS_BROKER_URL", address)
        monkeypatch.setenv("ELT_ASSETS_DAGSTER_URL", "postgresql://db.example.com/app")
        # Those to one host and port pass for the same, whatever certificates they trust.
        pools.reset()

    return speak


@pytest.mark.parametrize("ask", [look, listening_workers])
def test_a_broker_with_an_untrusted_certificate_gets_no_password(
    over_tls: Callable[[str], None], ask: Callable[[], object]
) -> None:
    over_tls("")
    with pytest.raises(BrokerUnusable):
        ask()


def test_a_broker_with_a_certificate_of_our_own_authority_is_accepted(
    broker: Broker, over_tls: Callable[[str], None]
) -> None:
    over_tls(f"?ssl_ca_certs={broker.certificate}")
    assert str(look()).endswith(f"at rediss://127.0.0.1:{broker.tls_port}/0")
    assert listening_workers() == {}
