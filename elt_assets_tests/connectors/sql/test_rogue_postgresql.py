"""Attacks by a PostgreSQL server: rows without end, answers that drip, and honest large rows."""

from __future__ import annotations

import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from elt_assets.connectors.source import Source
from elt_assets.connectors.sql import postgresql_reader
from elt_assets.errors import PageUnreadable, PermanentError, ProviderUnavailable
from elt_assets_tests.connectors.sql.conftest import opened, read
from elt_assets_tests.connectors.sql.measuring import Measuring
from elt_assets_tests.testbed import servers

pytestmark = pytest.mark.slow

PAGE = 16 << 20
Attack = Callable[[threading.Event], Iterator[bytes]]


def message(kind: bytes, body: bytes = b"") -> bytes:
    return kind + struct.pack("!I", 4 + len(body)) + body


def copied_row(*values: bytes) -> bytes:
    return struct.pack("!h", len(values)) + b"".join(
        struct.pack("!i", len(value)) + value for value in values
    )


COPYING = b"".join(
    [
        message(b"1"),
        message(b"2"),
        message(b"n"),
        message(b"H", struct.pack("!bhhh", 1, 2, 1, 1)),
        # As PostgreSQL does: the format's header, and a row in the same message.
        message(b"d", b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0) + copied_row(b"{}", b"1")),
    ]
)
COPIED = message(b"d", b"\xff\xff") + message(b"c") + message(b"C", b"COPY 1\0")
COPIED += message(b"Z", b"T")
SMALL = message(b"d", copied_row(b"{}", b"1"))


def row_of_a_gigabyte(_: threading.Event) -> Iterator[bytes]:
    """A row that says that it has a gigabyte, and sends it."""
    yield COPYING + b"d" + struct.pack("!I", (1 << 30) - 1)
    yield from [b"x" * (1 << 20)] * 1023


def row_of_a_page(_: threading.Event) -> Iterator[bytes]:
    """One row as large as a page may be, in which one character is not of Latin."""
    text = '"' + "\U0001f701" + "x" * (PAGE - 100) + '"'
    yield COPYING + message(b"d", copied_row(text.encode(), b"1")) + COPIED


def key_of_a_page(_: threading.Event) -> Iterator[bytes]:
    yield COPYING + message(b"d", copied_row(b"{}", b"k" * (PAGE - 100))) + COPIED


def rows_without_end(_: threading.Event) -> Iterator[bytes]:
    yield COPYING
    while True:
        yield SMALL * 10_000


def a_page_of_rows(_: threading.Event) -> Iterator[bytes]:
    """As many of the smallest rows as fit into a page, where 50,000 were asked for."""
    yield COPYING
    yield SMALL * ((PAGE - 1000) // len(SMALL))
    yield COPIED


def notices_without_end(_: threading.Event) -> Iterator[bytes]:
    while True:
        yield message(b"N", b"SNOTICE\0C00000\0M" + b"n" * 60_000 + b"\0\0")


def an_error_of_a_page(_: threading.Event) -> Iterator[bytes]:
    text = b"SERROR\0C42P01\0M" + b"e" * (PAGE - 1000) + b"\0\0"
    yield message(b"1") + message(b"E", text) + message(b"Z", b"E")


def silence(ended: threading.Event) -> Iterator[bytes]:
    ended.wait()
    yield b""


def one_byte_at_a_time(ended: threading.Event) -> Iterator[bytes]:
    """An error, which a server may send at any time."""
    yield b"E" + struct.pack("!I", 20_000)
    while not ended.wait(0.02):
        yield b"x"


LARGE: dict[str, tuple[Attack, str]] = {
    "a row of a gigabyte": (row_of_a_gigabyte, "more bytes for one page .* ELT_ASSETS_PAGE_BYTES"),
    "a row of a page": (row_of_a_page, "has a row of .* ELT_ASSETS_RECORD_BYTES"),
    "a key of a page": (key_of_a_page, "^$"),
    "rows without end": (rows_without_end, "more bytes for one page .* ELT_ASSETS_PAGE_BYTES"),
    "a page of rows": (a_page_of_rows, "rows, but the query has LIMIT 50,000"),
    "notices": (notices_without_end, "more bytes for one page .* ELT_ASSETS_PAGE_BYTES"),
    "an error": (an_error_of_a_page, "PostgreSQL: e{500}… "),
}
AT_ONCE, AT_THE_PAGE = b"user", b"COPY (SELECT row_to_json"


@contextmanager
def turning(port: int, attack: Attack, when: bytes) -> Iterator[int]:
    """A port that leads to the server at `port` until it is sent `when`; then it attacks."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while not ended.is_set():
                with suppress(OSError), closing(listening.accept()[0]) as driver:
                    speak(driver)

        def speak(driver: socket.socket) -> None:
            with closing(socket.create_connection(("127.0.0.1", port))) as server:
                answers = threading.Thread(target=copied, args=(server, driver), daemon=True)
                answers.start()
                while asked := driver.recv(65536):
                    if when in asked:
                        server.shutdown(socket.SHUT_RDWR)
                        answers.join()
                        for part in attack(ended):
                            driver.sendall(part)
                        return
                    server.sendall(asked)

        def copied(server: socket.socket, driver: socket.socket) -> None:
            with suppress(OSError):
                while part := server.recv(65536):
                    driver.sendall(part)

        serving = threading.Thread(target=serve, daemon=True)
        serving.start()
        try:
            yield listening.getsockname()[1]
        finally:
            ended.set()
            listening.shutdown(socket.SHUT_RDWR)
            serving.join()


def source_at(port: int, query: str) -> Source:
    server = servers.Server("postgresql", port, Path())
    return opened(server, query, page_bytes=PAGE, page_size=50_000, record_bytes=PAGE // 2 + 1000)


@pytest.fixture
def hr(postgresql: servers.Server, monkeypatch: pytest.MonkeyPatch) -> servers.Server:
    monkeypatch.setenv("HR_PASSWORD", servers.PASSWORD)
    return postgresql


@pytest.mark.parametrize("name", LARGE)
def test_no_answer_takes_more_than_a_page_may(
    hr: servers.Server, name: str, measured: Measuring
) -> None:
    attack, says = LARGE[name]
    with turning(hr.port, attack, AT_THE_PAGE) as port:
        error, _, taken = measured(port, "SELECT 1 AS id")
    assert re.search(says, error), error[:300]
    assert len(error) < 1_000
    # The driver has an error nine times before it hands it over; a page is for the process itself.
    assert taken < (10 if name == "an error" else 6) * PAGE, f"{taken / PAGE:.1f} pages"


@pytest.mark.parametrize("attack", [silence, one_byte_at_a_time])
@pytest.mark.parametrize("when", [AT_ONCE, b"pg_typeof", AT_THE_PAGE])
def test_a_server_that_drips_is_given_up(
    hr: servers.Server, attack: Attack, when: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql_reader, "GRACE", 0.2)
    with (
        turning(hr.port, attack, when) as port,
        pytest.raises(ProviderUnavailable, match=r"PostgreSQL: .*still answering after 0\.[46] s"),
    ):
        read(opened(replace(hr, port=port), "SELECT 1 AS id", statement_timeout=0.4, timeout=0.4))


def test_a_key_that_no_record_may_have_is_no_position(hr: servers.Server) -> None:
    query = "SELECT repeat('k', 1020 + g) AS id FROM generate_series(1, 9) g"
    with pytest.raises(PermanentError, match="page 3 ends with a key of 1,026 characters"):
        read(opened(hr, query, page_size=2, key="id"))


def test_an_honest_large_row_is_read_up_to_the_limit_and_refused_beyond(
    hr: servers.Server, measured: Measuring
) -> None:
    wide = "SELECT 1 AS id, repeat('x', {}) AS text"
    assert len(read(opened(hr, wide.format(1_000_000)))[0]["text"]) == 1_000_000
    with pytest.raises(PageUnreadable, match="sends more bytes for one page of rows"):
        read(opened(hr, wide.format(3 << 20)))
    error, size, taken = measured(hr.port, wide.format(PAGE // 2))
    assert not error
    assert size > PAGE // 2
    assert taken < 6 * PAGE


def test_a_page_of_honest_rows_is_not_read_to_its_end(
    hr: servers.Server, measured: Measuring
) -> None:
    many = "SELECT g AS id, repeat('x', 100000) AS text FROM generate_series(1, 5000) g"
    error, _, taken = measured(hr.port, many)
    assert "ELT_ASSETS_PAGE_BYTES" in error
    assert taken < 6 * PAGE
