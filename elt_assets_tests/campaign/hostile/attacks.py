"""What a hostile tenant connects: a provider, a drop folder, a database, each made to do harm.

The module creates them and the provider_data that leads to them. The data that they send is in the
tests of deadlines, pages, files and databases.
"""

from __future__ import annotations

import gzip
import itertools
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from elt_assets_tests.connectors.files.test_limits import (
    lists_of_nothing,
    one_value_for_every_row,
)
from elt_assets_tests.connectors.http.test_deadlines import DRIPS, endless, server
from elt_assets_tests.connectors.json.test_page_costs import BOMBS, COUNTED
from elt_assets_tests.connectors.serving import Provider, Reply
from elt_assets_tests.connectors.sql.test_rogue_mysql import (
    Speaking,
    columns_without_end,
    large,
    speaking,
    without_end,
)
from elt_assets_tests.connectors.sql.test_rogue_postgresql import message

MIB = 2**20
_SECONDS = 1.0
"""How long a statement may take."""


@dataclass(frozen=True)
class Hostile:
    """An integration that attacks."""

    provider: str
    data: dict[str, Any]


Attack = Callable[[Path], AbstractContextManager[Hostile]]


def rest(url: str, **more: Any) -> Hostile:
    """One whose provider is there."""
    users = {
        "path": "/users",
        "records": "items",
        "pagination": {"type": "cursor", "cursor": "next", "param": "cursor"},
        "fields": {"external_id": "id", "name": "name", "email": "email"},
    }
    return Hostile("rest", {"api_endpoint": url.rstrip("/"), "streams": {"users": users}, **more})


@contextmanager
def drip(place: str, _: Path) -> Iterator[Hostile]:
    """A provider that sends a byte now and then."""
    with server(DRIPS[place], 0.02) as url:
        yield rest(url)


@contextmanager
def drip_of_a_token(folder: Path) -> Iterator[Hostile]:
    """The same at the place where tokens are given out."""
    secret = folder / "secret"
    secret.write_text("x")
    with server(endless(b"HTTP/1.1 200 OK\r\nX: ", b"y"), 0.02) as url:
        auth = {"type": "oauth2_client_credentials", "token_url": url, "client_id": "evil"}
        yield rest(url, auth={**auth, "client_secret": {"file": str(secret)}})


@contextmanager
def bomb(make: Callable[[], bytes], _: Path) -> Iterator[Hostile]:
    """A provider whose every page is such a body, compressed."""
    packed = gzip.compress(make(), 1)
    with Provider(lambda _: Reply(packed, headers={"Content-Encoding": "gzip"})) as provider:
        yield rest(provider.url)


@contextmanager
def dropped(name: str, fill: Callable[[Path], None], folder: Path) -> Iterator[Hostile]:
    """A drop folder with one file."""
    fill(folder / name)
    users = {"path": name, "fields": {"external_id": "id"}}
    yield Hostile(
        "files", {"directory": str(folder), "settle_seconds": 0, "streams": {"users": users}}
    )


def parquet(table: Callable[[], pa.Table], path: Path) -> None:
    """A Parquet file of a few kilobytes."""
    pq.write_table(table(), path, compression="zstd")
    if path.stat().st_size > 100_000:
        raise AssertionError("an attack by a small file")


def gzipped(start: bytes, part: bytes, parts: int, path: Path) -> None:
    """A file that becomes far larger."""
    with gzip.open(path, "wb", 1) as file:
        file.write(start)
        for _ in range(parts):
            file.write(part)


def plain(content: Callable[[], bytes], path: Path) -> None:
    """A file as it is."""
    path.write_bytes(content())


def queried(kind: str, port: int) -> Hostile:
    """A database on this machine."""
    connection = {
        "type": kind,
        "host": "127.0.0.1",
        "port": port,
        "database": "hr",
        "user": "owner",
        "tls": "off",
    }
    return Hostile("sql", {"connection": connection, **_selecting("SELECT 1 AS id")})


def _selecting(query: str) -> dict[str, Any]:
    users = {"query": query, "key": "id", "fields": {"external_id": "id"}}
    return {"statement_timeout": _SECONDS, "streams": {"users": users}}


@contextmanager
def mysql(attack: Callable[[Speaking], None], _: Path) -> Iterator[Hostile]:
    """A MySQL server that answers like one until it is asked for rows."""
    with speaking(attack) as port:
        yield queried("mysql", port)


@contextmanager
def postgresql(parts: Callable[[], Iterator[bytes]], pause: float, _: Path) -> Iterator[Hostile]:
    """A PostgreSQL server that lets everybody in, and answers the first query like this."""
    ended = threading.Event()

    def speak(driver: socket.socket) -> None:
        driver.recv(65_536)
        driver.sendall(message(b"R", struct.pack("!I", 0)) + message(b"Z", b"I"))
        driver.recv(65_536)
        for part in parts():
            if ended.wait(pause):
                return
            driver.sendall(part)

    def serve() -> None:
        while not ended.is_set():
            with suppress(OSError), closing(listening.accept()[0]) as driver:
                speak(driver)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = threading.Thread(target=serve, daemon=True)
        serving.start()
        try:
            yield queried("postgresql", listening.getsockname()[1])
        finally:
            ended.set()
            listening.shutdown(socket.SHUT_RDWR)
            serving.join()


def a_row_of_a_gigabyte() -> Iterator[bytes]:
    """What PostgreSQL's protocol allows."""
    column = b"v\0" + struct.pack("!IHIHIH", 0, 0, 25, 0xFFFF, 0xFFFFFFFF, 0)
    yield message(b"T", struct.pack("!H", 1) + column) + b"D" + struct.pack("!I", (1 << 30) - 1)
    yield struct.pack("!HI", 1, (1 << 30) - 11)
    yield from itertools.repeat(b"x" * MIB, 1023)


def a_row_that_drips() -> Iterator[bytes]:
    """The same, slowly."""
    yield from (part[at : at + 1] for part in a_row_of_a_gigabyte() for at in range(len(part)))


@contextmanager
def sqlite(query: str, folder: Path) -> Iterator[Hostile]:
    """A query on a file, which the tenant has written itself."""
    from adbc_driver_sqlite import dbapi

    path = folder / "hr.db"
    with dbapi.connect(str(path), autocommit=True) as made, made.cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS users (id INTEGER)")
    yield Hostile("sql", {"connection": {"type": "sqlite", "path": str(path)}, **_selecting(query)})


_ENDLESS = "WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n) SELECT id FROM n"

ATTACKS: dict[str, Attack] = {
    **{f"drips {place}": partial(drip, place) for place in DRIPS},
    "drips a token": drip_of_a_token,
    **{
        f"a page of {name}": partial(bomb, make)
        for name, (make, expected) in BOMBS.items()
        if expected != COUNTED
    },
    "a Parquet file of one long value": partial(
        dropped,
        "users.parquet",
        partial(parquet, partial(one_value_for_every_row, 2_000, MIB)),
    ),
    "a Parquet file of a long list": partial(
        dropped, "users.parquet", partial(parquet, partial(lists_of_nothing, 1, 20_000_000))
    ),
    "a JSON file in gzip": partial(
        dropped, "users.json.gz", partial(gzipped, b'[{"id": "', b"a" * MIB, 300)
    ),
    "JSON Lines in gzip": partial(
        dropped, "users.jsonl.gz", partial(gzipped, b"", b"{}\n" * 300_000, 300)
    ),
    "a CSV file in gzip": partial(
        dropped, "users.csv.gz", partial(gzipped, b"id\n", b"1," * (MIB // 2), 300)
    ),
    "a quote without end": partial(
        dropped, "users.csv", partial(plain, lambda: b"id,name\n1,a\n" + b'"\n",' * (4 * MIB))
    ),
    "100,000 columns": partial(
        dropped, "users.csv", partial(plain, lambda: b",".join(b"c%d" % n for n in range(100_000)))
    ),
    "a MySQL row of a gigabyte": partial(mysql, large((1 << 30) - 100, b"x")),
    "MySQL rows without end": partial(mysql, without_end(b"\2{}\0011")),
    "MySQL columns without end": partial(mysql, columns_without_end),
    "a PostgreSQL row of a gigabyte": partial(postgresql, a_row_of_a_gigabyte, 0),
    "a PostgreSQL row that drips": partial(postgresql, a_row_that_drips, 0.02),
    "an endless query on a SQLite file": partial(sqlite, _ENDLESS),
    "a SQLite row of 800 MB": partial(sqlite, "SELECT 1 AS id, hex(zeroblob(400000000)) AS text"),
}
