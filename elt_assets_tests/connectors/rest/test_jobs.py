"""Export jobs that fail, never end, are forgotten, or make a file that is not what it should be."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from typing import Any

import pytest

from elt_assets.connectors import catalog
from elt_assets.errors import (
    InvalidInput,
    PageUnreadable,
    PositionRefused,
    ProviderRefused,
    ProviderUnavailable,
)
from elt_assets_tests.connectors.conftest import OpenSource
from elt_assets_tests.connectors.serving import Asked, Provider, Reply, as_json

FILE = b"".join(b'{"id": "%d"}\n' % number for number in range(20))


class Exports:
    """Jobs that come to `state`, and whose file is `file`."""

    def __init__(self, provider: Provider, file: bytes = FILE) -> None:
        self.state: dict[str, Any] = {"status": "done", "link": f"{provider.url}/v1/file"}
        self.file = file
        self.begun = 0
        provider.answer = self.answer

    def answer(self, asked: Asked) -> Reply:
        if asked.path == "/v1/users":
            self.begun += 1
            return as_json({"id": self.begun})
        if asked.path == "/v1/file":
            return Reply(self.file)
        there = asked.path == f"/v1/jobs/{self.begun}"
        return as_json(self.state) if there else as_json({"error": "no_such_job"}, 404)


@pytest.fixture
def job(data: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The job of the stream `users`."""
    monkeypatch.setattr("elt_assets.connectors.files.json_file.RECORDS", 5)
    described: dict[str, Any] = {
        "poll": "/jobs/{job}",
        "done": 'status == "done"',
        "failed": 'status == "failed"',
        "message": "why",
        "every": "1s",
        "most": "1s",
        "url": "link",
    }
    data["streams"]["users"] = {
        "path": "/users",
        "pagination": {"type": "none"},
        "job": described,
        "fields": {"external_id": "id"},
    }
    return described


def zipped(**files: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def test_a_job_that_fails_says_why(
    provider: Provider, job: dict[str, Any], users: OpenSource
) -> None:
    exports = Exports(provider)
    exports.state = {"status": "failed", "why": "the plan has no exports"}
    with pytest.raises(ProviderRefused, match=r"^the job failed: the plan has no exports$"):
        list(users().pages(None))


def test_a_job_that_never_ends_is_given_up(
    provider: Provider, job: dict[str, Any], users: OpenSource
) -> None:
    Exports(provider).state = {"status": "running"}
    with pytest.raises(ProviderUnavailable, match=r"not done after 1s.*\(job\.most\)"):
        list(users().pages(None))


def test_a_job_that_is_forgotten_or_has_another_file_begins_again(
    provider: Provider, job: dict[str, Any], users: OpenSource
) -> None:
    exports = Exports(provider)
    source = users()
    cursor = json.loads(json.dumps(next(source.pages(None)).next))
    assert [page.count for page in users().pages(cursor)] == [5, 5, 5]
    assert exports.begun == 1
    # What was read is the same, and the rest is that of the new file.
    exports.file = gzip.compress(FILE + b'{"id": "20"}\n')
    assert [page.count for page in users().pages(cursor)] == [5, 5, 5, 1]
    for other in (FILE.replace(b'"4"', b'"four"'), b'{"id": "0"}\n', b""):
        exports.file = other
        with pytest.raises(PositionRefused, match="file has changed since"):
            list(users().pages(cursor))
    exports.begun = 7
    with pytest.raises(PositionRefused, match="no longer has the earlier job"):
        list(users().pages(cursor))


def test_a_file_elsewhere_is_read_from_a_host_that_is_allowed_and_gets_no_secret(
    provider: Provider,
    elsewhere: Provider,
    job: dict[str, Any],
    data: dict[str, Any],
    users: OpenSource,
) -> None:
    exports = Exports(provider)
    exports.state["link"] = f"{elsewhere.url}/signed"
    elsewhere.answer = lambda _: Reply(FILE)
    with pytest.raises(PageUnreadable, match="allowed_hosts"):
        list(users().pages(None))
    assert elsewhere.asked == []
    data["allowed_hosts"] = [elsewhere.url.removeprefix("http://")]
    assert sum(page.count for page in users().pages(None)) == 20
    assert "authorization" not in elsewhere.asked[0].headers


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (zipped(a=FILE, b=FILE), "is a ZIP of 2 files and not of one"),
        (zipped(a=FILE)[:-30], "is a damaged ZIP"),
        (zipped(a=b"0" * (40 << 20)), "becomes more than 33,554,432 bytes when it is unpacked"),
        (b"\x1f\x8b\x08\x00broken", "is damaged or cut short"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_named(
    provider: Provider, job: dict[str, Any], users: OpenSource, file: bytes, words: str
) -> None:
    Exports(provider, file)
    with pytest.raises(PageUnreadable, match=words):
        list(users().pages(None))


def test_a_file_is_not_held_to_the_size_of_a_page(
    provider: Provider, job: dict[str, Any], users: OpenSource
) -> None:
    exports = Exports(provider, FILE * 100)
    assert len(exports.file) > 20_000
    assert sum(page.count for page in users(page_bytes=10_000).pages(None)) == 2_000


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"poll": "/jobs"}, r"job\.poll: has no \{job\}, where the job's id is to stand"),
        ({"done": "status"}, r"job\.done: 'status' compares nothing"),
        ({"file": {"encoding": "latin-99"}}, r"job\.file\.encoding: 'latin-99' is not an encoding"),
        ({"download": "/jobs/{job}/file"}, "job: give the file's place as download or as url"),
    ],
)
def test_a_job_that_cannot_be_is_refused(
    data: dict[str, Any], job: dict[str, Any], change: dict[str, Any], words: str
) -> None:
    job |= change
    with pytest.raises(InvalidInput, match=words):
        catalog.validate("rest", data)
