"""The egress policy: the addresses to which an integration may connect.

The policy judges the resolved address, not the name: the owner of a name can point it to another
address at any moment. `connectors.http.outgoing` resolves names and connects.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_ORGANIZATION = re.compile(r"[^=,/\s]+")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_NOT_PUBLIC: tuple[Network, ...] = (
    ipaddress.IPv4Network("168.63.129.16/32"),  # inside Azure: its host service
    ipaddress.IPv4Network("192.0.0.0/24"),  # IETF protocols; global to older Pythons
    ipaddress.IPv4Network("192.88.99.0/24"),  # relays to IPv6
    ipaddress.IPv6Network("64:ff9b:1::/48"),  # IPv4 of local use; global to older Pythons
)


@dataclass(frozen=True, slots=True)
class Egress:
    """A policy: `anything`, or `public` addresses and the networks that the operator opens."""

    anything: bool = False
    public: bool = False
    networks: tuple[Network, ...] = ()
    """The networks that are open to every organization."""
    of_organization: Mapping[str, tuple[Network, ...]] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Egress:
        """Parse `any`, or a list of `public`, networks and `organization=network`.

        Raises `ValueError` naming the entry that is wrong.
        """
        entries = [entry.strip() for entry in text.split(",")]
        if entries == ["any"]:
            return ANY
        public = False
        networks: list[Network] = []
        of_organization: dict[str, tuple[Network, ...]] = {}
        for entry in entries:
            organization, equals, written = entry.rpartition("=")
            if entry == "public":
                public = True
            elif equals and not _ORGANIZATION.fullmatch(organization):
                raise ValueError(f"{entry!r} does not begin with an organization")
            elif equals:
                of_organization[organization] = (
                    *of_organization.get(organization, ()),
                    _network(written),
                )
            else:
                networks.append(_network(written))
        return cls(public=public, networks=tuple(networks), of_organization=of_organization)

    def allows(self, address: str, organization: str | None) -> bool:
        if self.anything:
            return True
        found = _unwrapped(ipaddress.ip_address(address.partition("%")[0]))
        opened = (*self.networks, *self.of_organization.get(organization or "", ()))
        if any(found in network for network in opened if network.version == found.version):
            return True
        return self.public and is_public(found)


ANY = Egress(anything=True)


def is_public(address: Address) -> bool:
    """Whether the address belongs to the internet, and not to this machine or its networks."""
    if any(address in network for network in _NOT_PUBLIC if network.version == address.version):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _unwrapped(address: Address) -> Address:
    """The IPv4 address that an IPv6 address embeds, or else the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address.teredo is not None:
        return address.teredo[1]
    return address.ipv4_mapped or address.sixtofour or address


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is neither any, public nor a network such as 10.1.0.0/16"
        ) from None
