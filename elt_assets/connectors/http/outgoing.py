"""Connect to a host: its name is resolved once, and only those addresses are connected to.

The module resolves within a deadline, checks the egress policy and connects. The name is not
resolved again between the check and the connection, so a name that changes in between (DNS
rebinding) has no effect.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from elt_assets.config.egress import ANY, Egress
from elt_assets.connectors.http.deadline import Deadline
from elt_assets.errors import ProviderRefused


@dataclass(frozen=True, slots=True)
class Outgoing:
    """Where one organization's connections may lead."""

    egress: Egress = ANY
    organization: str | None = None

    def addresses(self, host: str, port: int, deadline: Deadline) -> list[tuple[int, str]]:
        """The addresses of `host` that may be connected to, each with its family.

        Raises `ProviderRefused` if the egress policy closes all of them, `socket.gaierror` if the
        host has none and `TimeoutError` if the name server does not answer in time.
        """
        found = [
            (int(family), str(place[0]))
            for family, _, _, _, place in _resolved(host, port, deadline)
        ]
        open_ones = [
            (family, address)
            for family, address in found
            if self.egress.allows(address, self.organization)
        ]
        if found and not open_ones:
            raise Closed(
                f"{host} leads to {found[0][1]}, which ELT_ASSETS_EGRESS does not open to this "
                "organization; the operator may open the network there"
            )
        return open_ones

    def connect(
        self,
        host: str,
        port: int,
        deadline: Deadline,
        options: list[tuple[int, int, int | bytes]] | None = None,
    ) -> socket.socket:
        """Connect to the first address that accepts. Raises as `addresses`, or `OSError`."""
        failure: OSError | None = None
        for family, address in self.addresses(host, port, deadline):
            one = socket.socket(socket.AddressFamily(family), socket.SOCK_STREAM)
            try:
                for option in options or ():
                    one.setsockopt(*option)
                deadline.watch(one)
                one.settimeout(max(0.001, deadline.left))
                one.connect((address, port))
                return one
            except OSError as error:
                one.close()
                failure = error
        raise failure or OSError("the name has no address")


ANYWHERE = Outgoing()


class Closed(ProviderRefused):
    """The operator's egress policy does not allow the address."""


def _resolved(host: str, port: int, deadline: Deadline) -> list[tuple[Any, ...]]:
    """The result of `getaddrinfo`. Raises `TimeoutError` at the deadline.

    `getaddrinfo` cannot be interrupted, so it runs in a thread that is left behind when it is late.
    """
    with suppress(ValueError):
        ipaddress.ip_address(host.partition("%")[0])
        return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    answer: list[list[tuple[Any, ...]]] = []
    failures: list[BaseException] = []

    def ask() -> None:
        try:
            answer.append(list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))
        except BaseException as error:  # noqa: BLE001 (raised in the thread that asked)
            failures.append(error)

    asking = threading.Thread(target=ask, name="resolving", daemon=True)
    asking.start()
    asking.join(deadline.left)
    if failures:
        raise failures[0]
    if not answer:
        raise TimeoutError("the name server did not answer in time")
    return answer[0]
