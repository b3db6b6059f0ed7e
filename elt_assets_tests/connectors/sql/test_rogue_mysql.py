"""Attacks by a MySQL server: rows without end, and answers that drip."""

from __future__ import annotations

import itertools
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress

import pytest

from elt_assets.config.secret_refs import Secrets
from elt_assets.connectors import catalog
from elt_assets.connectors.limits import FetchLimits
from elt_assets.connectors.source import Source
from elt_assets.errors import PageUnreadable, ProviderUnavailable
from elt_assets_tests.connectors.http.test_deadlines import server
from elt_assets_tests.connectors.sql.conftest import opened, read
from elt_assets_tests.connectors.sql.measuring import Measuring
from elt_assets_tests.testbed import servers


@pytest.fixture
def mysql(mariadb: servers.Server, monkeypatch: pytest.MonkeyPatch) -> servers.Server:
    monkeypatch.setenv("HR_PASSWORD", servers.PASSWORD)
    return mariadb


def wide(length: int) -> str:
    return f"SELECT 1 AS id, repeat('x', {length}) AS text"


def test_a_row_is_refused_while_it_is_read(mysql: servers.Server) -> None:
    assert len(read(opened(mysql, wide(1_000_000)))[0]["text"]) == 1_000_000
    with pytest.raises(PageUnreadable, match="sends more bytes for one page of rows"):
        read(opened(mysql, wide(3 << 20)))


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2].strip("/"))


def test_a_packet_of_a_gigabyte_is_not_read(measured: Measuring) -> None:
    """A greeting in packets that say that more of them follow."""
    filler = b"\x0a" * 0xFFFFFF
    packets = itertools.cycle([b"\xff\xff\xff", bytes([n]) + filler] for n in range(256))
    parts = itertools.chain.from_iterable(packets)
    with server(lambda: parts, 0, greets=True) as address:
        error, _, taken = measured(port_of(address), 60.0)
    assert error.startswith("PageUnreadable")
    assert taken < 64 * 2**20


PAGE = 16 << 20


class Speaking:
    """A server that follows the protocol until it is asked for rows."""

    def __init__(self, attack: Callable[[Speaking], None]) -> None:
        self._attack = attack
        self._number = 0
        self._peer: socket.socket

    def send(self, *packets: bytes) -> None:
        """Send packets, numbered one after the other."""
        framed = []
        for packet in packets:
            framed.append(struct.pack("<I", len(packet))[:3] + bytes([self._number]) + packet)
            self._number = (self._number + 1) % 256
        self._peer.sendall(b"".join(framed))

    def serve(self, peer: socket.socket) -> None:
        """Serve one session."""
        with suppress(OSError):
            self._peer = peer
            with self._peer:
                greeting = b"\x0a8.0.0\0" + struct.pack("<I", 1) + b"12345678\0"
                greeting += struct.pack("<HBHHB", 0x8200 | 8, 45, 2, 8, 21) + b"\0" * 10
                self.send(greeting + b"123456789012\0mysql_native_password\0")
                self._peer.recv(65_536)
                self._number = 2
                self.send(OK)
                while asked := self._peer.recv(65_536):
                    self._number = 1
                    if b"q.*" in asked:
                        self._attack(self)
                        return
                    if b"version()" in asked:
                        self.send(b"\1", column("version()", 253), EOF, text("8.0.0"), EOF)
                    elif b"count(" in asked:
                        three = [column(name, 8) for name in "abc"]
                        self.send(b"\3", *three, EOF, text("1", "1", "1"), EOF)
                    else:
                        self.send(OK)


@contextmanager
def speaking(attack: Callable[[Speaking], None]) -> Iterator[int]:
    """A port where such a server listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    Speaking(attack).serve(listening.accept()[0])

        serving = threading.Thread(target=serve, daemon=True)
        serving.start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            serving.join()


OK, EOF = b"\0\0\0\2\0\0\0", b"\xfe\0\0\2\0"


def text(*values: str) -> bytes:
    return b"".join(bytes([len(value)]) + value.encode() for value in values)


def column(name: str, kind: int) -> bytes:
    return text("def", "", "", "", name, "") + struct.pack("<BHIBHBxx", 12, 45, 9, kind, 0, 0)


def large(size: int, filler: bytes) -> Callable[[Speaking], None]:
    """One row of so many bytes, in as many packets as that takes."""

    def attack(peer: Speaking) -> None:
        peer.send(*TWO)
        start = b"\xfe" + struct.pack("<Q", size) + "\U0001f701".encode()
        left = size - 4
        while len(start) + left >= 0xFFFFFF:
            packet = start + filler * (0xFFFFFF - len(start))
            left -= 0xFFFFFF - len(start)
            start = b""
            peer.send(packet)
        peer.send(start + filler * left + text("1"), EOF)

    return attack


def without_end(*packets: bytes) -> Callable[[Speaking], None]:
    def attack(peer: Speaking) -> None:
        peer.send(b"\2", column("id", 253), column("id", 253), EOF)
        while True:
            peer.send(*packets * 5_000)

    return attack


def columns_without_end(peer: Speaking) -> None:
    peer.send(b"\xfe" + b"\xff" * 7 + b"\0")
    while True:
        peer.send(*[column("x", 253)] * 5_000)


def only_packets(*packets: bytes) -> Callable[[Speaking], None]:
    return lambda peer: peer.send(*packets)


TWO = (b"\2", column("id", 253), column("id", 253), EOF)
LARGE = {
    "a row of a gigabyte": (large((1 << 30) - 100, b"x"), "for one row than .*RECORD_BYTES"),
    "a row of a page": (large(PAGE - 1000, b"x"), "for one row than .*RECORD_BYTES"),
    "a row of quotes": (large(PAGE // 2, b"\0"), "has a row of .*RECORD_BYTES"),
    "rows without end": (without_end(text("{}", "1")), "does not follow the protocol"),
    "columns without end": (columns_without_end, "for one page of rows than .*PAGE_BYTES"),
    "an error": (only_packets(b"\xff\x7a\x04#42S02" + b"e" * 1_000_000), "MySQL: e{500}… "),
    "a local file": (only_packets(b"\xfb/etc/passwd"), "does not follow the protocol"),
    "no columns": (only_packets(b"\0", EOF, EOF), "^$"),
    "damaged columns": (only_packets(b"\2", b"\xff", b"x"), "MySQL: "),
    "damaged rows": (only_packets(*TWO, b"\xfc\xff", EOF), "does not follow the protocol"),
    "no text": (only_packets(*TWO, b"\2\xff\xff\1x", EOF), "does not follow the protocol"),
    "silence at the end": (only_packets(*TWO), "MySQL: "),
}


@pytest.mark.parametrize("name", LARGE)
def test_no_answer_takes_more_than_a_page_may(name: str, measured: Measuring) -> None:
    attack, says = LARGE[name]
    with speaking(attack) as port:
        error, _, taken = measured(port, 60.0, PAGE)
    assert re.search(says, error), error[:300]
    assert not error or error.startswith(("Provider", "PageUnreadable"))
    assert len(error) < 1_000
    assert taken < 6 * PAGE, f"{taken / PAGE:.1f} pages"


def source_at(port: int, timeout: float, page_bytes: int = 1 << 20) -> Source:
    return catalog.open_source(
        "sql",
        {
            "connection": {
                "type": "mysql",
                "host": "127.0.0.1",
                "port": port,
                "database": "hr",
                "user": "owner",
                "tls": "off",
            },
            "streams": {
                "users": {
                    "query": "SELECT 1 AS id",
                    "key": "id",
                    "fields": {"external_id": "id"},
                }
            },
        },
        "users",
        secrets=Secrets(),
        limits=FetchLimits(
            attempts=1,
            first_wait=0,
            timeout=timeout,
            page_bytes=page_bytes,
            record_bytes=page_bytes // 2 + 1000,
            max_pages=9,
        ),
    )


def test_a_greeting_that_drips_is_given_up() -> None:
    drip = itertools.chain([b"\xff\x00\x00\x00\x0a"], itertools.repeat(b"5"))
    with server(lambda: drip, 0.02, greets=True) as address:
        source = source_at(int(address.rpartition(":")[2].strip("/")), 0.4)
        with closing(source), pytest.raises(ProviderUnavailable, match="MySQL"):
            next(source.pages(None))
