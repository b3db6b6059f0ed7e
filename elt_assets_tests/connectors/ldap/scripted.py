"""A server that speaks LDAP over a real socket and says whatever a test says.

For what OpenLDAP does not do: Active Directory's ranges and values, and answers that are wrong.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from ldap3.protocol.rfc2696 import paged_search_control
from ldap3.protocol.rfc4511 import (
    BindResponse,
    Controls,
    LDAPMessage,
    PartialAttribute,
    PartialAttributeList,
    ProtocolOp,
    SearchResultDone,
    SearchResultEntry,
    Vals,
)
from ldap3.utils.asn1 import encode

_BIND = 0x60

Attributes = Mapping[str, Sequence[bytes]]


@dataclass(frozen=True)
class Asked:
    """A search as it arrived."""

    number: int
    base: str
    attributes: tuple[str, ...]
    filter: bytes = b""
    """As it was encoded, which leaves names and values readable."""


@dataclass(frozen=True)
class Said:
    """An answer: entries by name, and how it ends; or bytes as they are."""

    entries: Mapping[str, Attributes] | None = None
    code: int = 0
    paged: bool = True
    raw: Iterable[bytes] | None = None


Script = Callable[[Asked], Said]


@contextmanager
def scripted(script: Script) -> Iterator[int]:
    """Answers binds with success and searches with `script`; the port it listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threads: list[threading.Thread] = []

        def accept() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                threads.append(threading.Thread(target=_serve, args=(connection, script)))
                threads[-1].start()

        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for thread in threads:
                thread.join()


def entry(number: int, name: str, attributes: Attributes) -> bytes:
    """The message of one entry."""
    found = SearchResultEntry()
    found["object"] = name
    found["attributes"] = PartialAttributeList()
    for at, (attribute, values) in enumerate(attributes.items()):
        one = PartialAttribute()
        one["type"] = attribute
        one["vals"] = Vals()
        for position, value in enumerate(values):
            one["vals"][position] = value
        found["attributes"][at] = one
    return _message(number, "searchResEntry", found)


def done(number: int, code: int = 0, *, paged: bool = True) -> bytes:
    """The message that ends a search."""
    return _message(number, "searchResDone", _result(SearchResultDone(), code), paged=paged)


def _serve(connection: socket.socket, script: Script) -> None:
    held = b""
    with connection, suppress(OSError):
        while True:
            received = connection.recv(1 << 16)
            if not received:
                return
            held += received
            while (end := _end(held)) is not None and end <= len(held):
                for part in _answered(held[:end], script):
                    connection.sendall(part)
                held = held[end:]


def _answered(message: bytes, script: Script) -> Iterator[bytes]:
    ((_, content),) = _parts(message)
    (_, number), (operation, request), *_ = _parts(content)
    to = int.from_bytes(number, "big")
    if operation == _BIND:
        yield _message(to, "bindResponse", _result(BindResponse(), 0))
        return
    (_, base), *_, (_, condition), (_, names) = _parts(request)
    asked = Asked(to, base.decode(), tuple(name.decode() for _, name in _parts(names)), condition)
    said = script(asked)
    if said.raw is not None:
        yield from said.raw
        return
    for name, attributes in (said.entries or {}).items():
        yield entry(to, name, attributes)
    yield done(to, said.code, paged=said.paged)


def _end(data: bytes) -> int | None:
    """Where the first part ends, by its length."""
    if len(data) < 2:
        return None
    more = data[1] - 0x80 if data[1] > 0x80 else 0
    length = int.from_bytes(data[2 : 2 + more], "big") if more else data[1]
    return None if len(data) < 2 + more else 2 + more + length


def _parts(data: bytes) -> list[tuple[int, bytes]]:
    """The parts that stand one after the other: tag and content."""
    found = []
    while (end := _end(data)) is not None:
        head = 2 + (data[1] - 0x80 if data[1] > 0x80 else 0)
        found.append((data[0], data[head:end]))
        data = data[end:]
    return found


def _result(response: Any, code: int) -> Any:
    response["resultCode"] = code
    response["matchedDN"] = ""
    response["diagnosticMessage"] = ""
    return response


def _message(number: int, kind: str, response: Any, *, paged: bool = False) -> bytes:
    message = LDAPMessage()
    message["messageID"] = number
    message["protocolOp"] = ProtocolOp().setComponentByName(kind, response)
    if paged:
        message["controls"] = Controls()
        message["controls"][0] = paged_search_control(False, 0, b"")
    return bytes(encode(message))
