"""Attacks by a MySQL server: rows without end, and answers that drip."""

from __future__ import annotations

import itertools
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from elt_assets.config.secret_refs import Secrets
from elt_assets.connectors import catalog
from elt_assets.connectors.limits import FetchLimits
from elt_assets.connectors.source import Source
from elt_assets.errors import PageUnreadable, ProviderUnavailable
from elt_assets_tests.connectors.http.test_deadlines import server
from elt_assets_tests.connectors.sql.conftest import opened, read
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


MEASURE = """
import sys
from pathlib import Path
from elt_assets_tests.connectors.sql.test_rogue_mysql import source_at

def kilobytes(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))

source = source_at(int(sys.argv[1]), 60.0)
before = kilobytes("VmRSS")
try:
    next(source.pages(None))
except Exception as error:
    print(type(error).__name__)
print((kilobytes("VmHWM") - before) * 1024)
"""


def test_a_packet_of_a_gigabyte_is_not_read() -> None:
    """A greeting in packets that say that more of them follow."""
    filler = b"\x0a" * 0xFFFFFF
    packets = itertools.cycle([b"\xff\xff\xff", bytes([n]) + filler] for n in range(256))
    parts = itertools.chain.from_iterable(packets)
    with server(lambda: parts, 0, greets=True) as address:
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, address.rpartition(":")[2].strip("/")],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            cwd=Path(__file__).parents[3],
        )
    error, taken = done.stdout.split()
    assert error == "PageUnreadable"
    assert int(taken) < 64 * 2**20


def source_at(port: int, timeout: float) -> Source:
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
            attempts=1, first_wait=0, timeout=timeout, page_bytes=1 << 20, max_pages=9
        ),
    )


def test_a_greeting_that_drips_is_given_up() -> None:
    drip = itertools.chain([b"\xff\x00\x00\x00\x0a"], itertools.repeat(b"5"))
    with server(lambda: drip, 0.02, greets=True) as address:
        source = source_at(int(address.rpartition(":")[2].strip("/")), 0.4)
        with closing(source), pytest.raises(ProviderUnavailable, match="MySQL"):
            next(source.pages(None))
