"""Attacks by one small answer: pages that would take gigabytes or minutes to read.

Each is fetched over HTTP, as gzip, by a process of its own whose memory is measured.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from elt_assets.connectors.json.json_limits import PageLimits
from elt_assets.connectors.json.page_envelope import EnvelopeReader
from elt_assets.connectors.source import Source
from elt_assets.errors import PageUnreadable
from elt_assets_tests.connectors.serving import Asked, Provider, Reply, as_json

pytestmark = pytest.mark.slow

SIZE = 16 * 2**20
MOST_TIMES = 6
"""A page may take this many times its size, itself included."""
_BESIDES = 24 * 2**20
"""What a process takes for its first request, whatever comes back."""

FETCH = """
import os
import sys
from pathlib import Path
from elt_assets.connectors import catalog
from elt_assets.connectors.limits import FetchLimits
from elt_assets.config.secret_refs import Secrets

def kilobytes(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))

def fetch(url):
    source = catalog.open_source(
        "rest",
        {
            "api_endpoint": url,
            "streams": {
                "users": {
                    "path": "/users",
                    "records": "items",
                    "pagination": {"type": "cursor", "cursor": "next", "param": "cursor"},
                    "fields": {"external_id": "id"},
                }
            },
        },
        "users",
        secrets=Secrets(),
        limits=FetchLimits(attempts=1, first_wait=0, timeout=300, page_bytes=1 << 26, max_pages=2),
    )
    before = kilobytes("VmRSS")
    try:
        print(next(source.pages(None)).count)
    except Exception as error:
        print(f"{type(error).__name__}: {error}")
    print((kilobytes("VmHWM") - before) * 1024, flush=True)

for line in sys.stdin:
    # A process of its own for each page, whose peak begins at what it was given; no second import.
    process = os.fork()
    if not process:
        fetch(line.strip())
        os._exit(0)
    assert os.waitpid(process, 0)[1] == 0
"""


@pytest.fixture(scope="module")
def fetching() -> Iterator[subprocess.Popen[str]]:
    """Fetches the first page of each address that it reads; prints the result and its memory."""
    with subprocess.Popen(
        [sys.executable, "-c", FETCH],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    ) as process:
        yield process


def filled(part: bytes, start: bytes = b'{"items":[', end: bytes = b'],"next":null}') -> bytes:
    return start + part * (SIZE // len(part)) + part[:-1] + end


COUNTED = "counted"
"""Such a page is read, and its records are counted."""
RECORD = json.dumps({"id": "u-0001", "name": "Person 1", "email": "p1@example.com"}).encode()

BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "numbers": (lambda: filled(b"1,"), "more than the 500,000 records"),
    "objects": (lambda: filled(b"{},"), "lists, objects and texts"),
    "lists": (lambda: filled(b"[],"), "lists, objects and texts"),
    "texts": (lambda: filled(b'"",'), "lists, objects and texts"),
    "brackets": (lambda: b"[" * SIZE, "large list"),
    "nested objects": (lambda: b'{"a":' * (SIZE // 5), "lists, objects and texts"),
    "invalid UTF-8": (lambda: filled(b'{"id":"\xff"},'), "lists, objects and texts"),
    "no JSON": (lambda: filled(b'{"id":NaN},'), "more than the 500,000 records"),
    "damaged records": (
        lambda: filled(b'{"id":NaN,"n":"' + b"x" * 40 + b'"},'),
        "lists, objects and texts",
    ),
    "an error": (lambda: filled(b"1,", b'{"items":[],"error":['), "unreadable at 'error'"),
    "other keys": (
        lambda: b"{" + b",".join(b'"%d":1' % n for n in range(SIZE // 11)) + b"}",
        "the end of its list of records",
    ),
    "a list twice": (
        lambda: filled(b"1,", b'{"items":[],"items":['),
        "the end of its list of records",
    ),
    "inside a record": (
        lambda: filled(b"1,", b'{"items":[{"a":[', b"]}]}"),
        "a record of 16,",
    ),
    "a long text": (
        lambda: b'{"items":[{"a":"' + b"x" * (SIZE + 1000) + b'"}]}',
        "a record of 16,",
    ),
    "a long number": (lambda: b'{"items":[' + b"1" * SIZE + b"]}", COUNTED),
    "numbers just short enough": (lambda: filled(b"1" * 999 + b","), COUNTED),
    "records": (lambda: filled(RECORD + b","), COUNTED),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_page_takes_at_most_six_times_its_size(
    provider: Provider, fetching: subprocess.Popen[str], name: str
) -> None:
    make, expected = BOMBS[name]
    body = make()
    packed = gzip.compress(body, 1)
    provider.answer = lambda _: Reply(packed, headers={"Content-Encoding": "gzip"})
    assert fetching.stdin is not None
    assert fetching.stdout is not None
    print(provider.url, file=fetching.stdin, flush=True)
    answer, taken = (fetching.stdout.readline().strip() for _ in range(2))
    assert answer.isdigit() if expected == COUNTED else expected in answer
    assert int(taken) <= MOST_TIMES * len(body) + _BESIDES, f"{int(taken) / len(body):.1f} times"


def read(body: bytes, **limits: int) -> int:
    return EnvelopeReader(("items",), limits=PageLimits(**limits)).read(body, "page 1").count


@pytest.mark.parametrize("record", [b"1", b"{}", RECORD])
def test_a_page_may_have_as_many_records_as_the_limit_says(record: bytes) -> None:
    def page(count: int) -> bytes:
        return b'{"items":[' + b",".join([record] * count) + b"]}"

    assert read(page(1000), records=1000) == 1000
    with pytest.raises(PageUnreadable, match=r"^page 1 has more than the 1,000 records allowed"):
        read(page(1001), records=1000)


def test_a_record_may_be_as_long_as_the_limit_says() -> None:
    def page(length: int) -> bytes:
        return b'{"items":["' + b"x" * (length - 2) + b'"]}'

    assert read(page(2000), record_bytes=2000) == 1
    with pytest.raises(PageUnreadable, match="a record of 2,001 bytes, more than the 2,000"):
        read(page(2001), record_bytes=2000)


@pytest.mark.parametrize(("digits", "kept"), [(999, True), (1_000, False), (5_000, False)])
def test_a_number_that_readers_refuse_makes_its_record_unreadable(digits: int, kept: bool) -> None:
    long = b"9" * digits
    body = b'{"items":[{"id":"a","n":' + long + b'},{"id":"b","t":"' + long * 9 + b'"}]}'
    found = EnvelopeReader(("items",)).read(body, "page 1")
    first, second = json.loads(found.body, parse_int=len)["items"]
    assert ("$unreadable" in first) is not kept
    assert first["id"] == "a"
    assert second == {"id": "b", "t": long.decode() * 9}
    if not kept:
        assert first == {
            "$unreadable": "a number of 1,000 digits or more",
            "id": "a",
            "n": None,
        }


def test_a_total_of_five_thousand_digits_is_no_count(provider: Provider) -> None:
    reader = EnvelopeReader(("items",), total=("total",))
    with pytest.raises(PageUnreadable, match="unreadable at 'total'"):
        reader.read(b'{"items":[],"total":' + b"9" * 5_000 + b"}", "page 1")


@pytest.mark.parametrize("schemas", [5, True, {"urn:x": 1}, [5, [], None], "urn", None])
def test_an_error_body_of_any_shape_is_described(
    provider: Provider, users: Callable[..., Source], schemas: Any
) -> None:
    def answer(_: Asked) -> Reply:
        return as_json({"schemas": schemas, "detail": 7}, 400)

    provider.answer = answer
    with pytest.raises(Exception, match="answered 400 Bad Request"):
        list(users().pages(None))
