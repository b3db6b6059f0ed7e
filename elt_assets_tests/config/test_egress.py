"""The egress policy: which resolved addresses an organization's connections may lead to."""

from __future__ import annotations

import pytest

from elt_assets.config.egress import Egress
from elt_assets.config.settings import load_settings
from elt_assets.errors import InvalidInput

INTERNAL = (
    "127.0.0.1",
    "127.8.8.8",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "168.63.129.16",
    "192.0.0.8",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1%eth0",
    "fc00::1",
    "fd00:ec2::254",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",
    "64:ff9b:1::7f00:1",
    "2002:7f00:1::",
    "2001:db8::1",
)
PUBLIC = ("1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "64:ff9b::101:101")


@pytest.mark.parametrize("address", INTERNAL)
def test_no_spelling_of_an_internal_address_is_public(address: str) -> None:
    assert not Egress.parse("public").allows(address, "acme")


@pytest.mark.parametrize("address", PUBLIC)
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert Egress.parse("public").allows(address, "acme")
    assert not Egress.parse("10.0.0.0/8").allows(address, "acme")


def test_a_network_is_opened_to_everybody_or_to_one_organization() -> None:
    policy = Egress.parse("public, 10.1.0.0/16, acme=10.2.0.0/16, acme=fd00::/8")
    assert policy.allows("10.1.0.9", "globex")
    assert policy.allows("10.2.0.9", "acme")
    assert policy.allows("fd00::9", "acme")
    assert policy.allows("::ffff:10.2.0.9", "acme")
    assert not policy.allows("10.2.0.9", "globex")
    assert not policy.allows("10.2.0.9", None)
    assert not policy.allows("10.3.0.9", "acme")


def test_any_allows_every_address() -> None:
    assert Egress.parse("any").allows("127.0.0.1", None)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "''"),
        ("pubic", "'pubic'"),
        ("public,any", "'any'"),
        ("10.1.2.3/16", "'10.1.2.3/16'"),
        ("=10.0.0.0/8", "'=10.0.0.0/8'"),
        ("acme=public", "'public'"),
    ],
)
def test_an_invalid_policy_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(InvalidInput, match=f"ELT_ASSETS_EGRESS: {complaint}"):
        load_settings(egress=text)
