"""The address of the workers' broker."""

from __future__ import annotations

import pytest

from elt_assets.config.addresses import BrokerAddress
from elt_assets.config.secret_refs import SecretRef, Secrets
from elt_assets.config.settings import load_settings
from elt_assets.errors import InvalidInput


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("amqp://queue.example.com", "not the address of a Redis"),
        ("redis://", "not the address of a Redis"),
        ("redis://queue:port/0", "not the address of a Redis"),
        ("redis://queue/first", "the database of a Redis is a number"),
        ("redis://:hemmelig@queue/0", "name where it is kept in ELT_ASSETS_BROKER_PASSWORD"),
        ("redis://queue/0?password=hemmelig", "a password does not belong in the address"),
        ("rediss://queue/0?ssl_cert_reqs=none", "certificates are always checked"),
        ("rediss://queue/0?ssl_check_hostname=false", "an option does not belong in the address"),
        ("redis://queue/0?ssl_ca_certs=/ca.pem", "an option does not belong in the address"),
        ("redis://elt:12?hemmelig@queue/0", "an option does not belong in the address"),
    ],
)
def test_an_invalid_address_is_reported_without_what_may_be_a_password(url: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said) as refused:
        load_settings(broker_url=url, dagster_url="postgresql://db/app")
    assert str(refused.value).startswith("settings: ELT_ASSETS_BROKER_URL: ")
    assert "hemmelig" not in str(refused.value)


def test_the_password_is_added_only_to_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUEUE", "p@ss/word")
    address = BrokerAddress.parse("redis://elt@queue:6380/1")
    assert address.complete(Secrets()) == address.url
    known = BrokerAddress(address.url, SecretRef(env="QUEUE"))
    assert known.complete(Secrets()) == "redis://elt:p%40ss%2Fword@queue:6380/1"
    assert str(known) == "redis://elt@queue:6380/1"


def test_with_tls_every_client_checks_the_certificate() -> None:
    plain = BrokerAddress.parse("rediss://queue/0")
    assert plain.complete(Secrets()) == "rediss://queue/0?ssl_cert_reqs=required"
    own = BrokerAddress.parse(
        "rediss://queue/0?ssl_ca_certs=/etc/our ca.pem&ssl_cert_reqs=required"
    )
    assert own.complete(Secrets()) == (
        "rediss://queue/0?ssl_ca_certs=/etc/our+ca.pem&ssl_cert_reqs=required"
    )
    assert str(own) == "rediss://queue/0"


@pytest.mark.parametrize(
    ("url", "private"),
    [
        ("rediss://queue/0", True),
        ("redis://127.0.0.1/0", True),
        ("redis://[::1]:6379/0", True),
        ("redis://queue/0", False),
    ],
)
def test_an_address_is_private_with_tls_or_on_loopback(url: str, private: bool) -> None:
    assert BrokerAddress.parse(url).is_private is private


def test_workers_without_a_shared_instance_are_refused() -> None:
    with pytest.raises(InvalidInput, match="ELT_ASSETS_BROKER_URL needs ELT_ASSETS_DAGSTER_URL"):
        load_settings(broker_url="redis://127.0.0.1/0")
    with pytest.raises(InvalidInput, match=r"name where it is kept in ELT_ASSETS_DAGSTER_PASSWORD"):
        load_settings(dagster_url="postgresql://elt:hemmelig@db/app")
