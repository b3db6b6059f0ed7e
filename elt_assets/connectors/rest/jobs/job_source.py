"""A stream that is the result of a job: begin the job, poll its state, read its file in chunks.

A cursor is the job's id, the number of chunks read, and a digest of them. An extraction that
continues downloads the file of the same job again and compares those chunks. If the provider no
longer has the job, or the chunks differ, the listing begins again.
"""

from __future__ import annotations

import hashlib
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any
from urllib.parse import quote, urljoin

import msgspec

from elt_assets.config.durations import duration
from elt_assets.config.secret_refs import Secrets
from elt_assets.connectors import slot
from elt_assets.connectors.files.files_data import FileStream
from elt_assets.connectors.http.http_client import NotThere, PageRequest, Response
from elt_assets.connectors.json.json_limits import decode
from elt_assets.connectors.limits import FetchLimits, page_limit_reached
from elt_assets.connectors.mapping.evaluate import holds, text_at
from elt_assets.connectors.mapping.expression_parser import parse
from elt_assets.connectors.mapping.templates import filled
from elt_assets.connectors.rest.jobs.job_data import ExportJob
from elt_assets.connectors.rest.jobs.job_file import chunks
from elt_assets.connectors.rest.pages.row_filter import kept
from elt_assets.connectors.rest.pagination import PageAnswer
from elt_assets.connectors.rest.provider_data import RestData
from elt_assets.connectors.rest.rest_source import RestSource
from elt_assets.connectors.source import Cursor, KnownPage, Page
from elt_assets.errors import (
    PageUnreadable,
    PermanentError,
    PositionRefused,
    ProviderRefused,
    ProviderUnavailable,
)
from elt_assets.identifiers import IntegrationRef

_LONGEST_WORDS = 200
_LONGEST_ID = 1_024


class JobPlace(msgspec.Struct, frozen=True):
    """The position in the file of a job, small enough for a checkpoint."""

    job: str
    chunks: int = 0
    digest: str = ""

    def past(self, body: bytes) -> JobPlace:
        """The position after the chunk `body`."""
        digest = hashlib.sha256(self.digest.encode() + body).hexdigest()
        return JobPlace(self.job, self.chunks + 1, digest)


class JobSource(RestSource):
    """One stream of a REST integration with `job`."""

    def __init__(
        self,
        config: RestData,
        stream: str,
        *,
        ref: IntegrationRef | None = None,
        secrets: Secrets,
        limits: FetchLimits,
    ) -> None:
        super().__init__(config, stream, ref=ref, secrets=secrets, limits=limits)
        self.records = ()
        described = config.streams[stream]
        assert described.job is not None  # noqa: S101
        self._job: ExportJob = described.job
        self._where = None if described.where is None else parse(described.where)
        self._closed = threading.Event()
        file = self._job.file
        self._file = FileStream(
            path=f"export.{file.format}",
            format=file.format,
            delimiter=file.delimiter,
            records=file.records,
            encoding=file.encoding,
            fields=described.fields,
        )

    def recall(self, pages: Iterable[KnownPage]) -> None:
        """Do nothing: each job makes a new file, so no page is known."""

    def otherwise(self) -> None:
        """Do nothing: a file has no page size."""

    def pages(
        self,
        cursor: Cursor | None,
        since: str | None = None,
        first: Callable[[], PageAnswer] | None = None,
    ) -> Iterator[Page]:
        """Yield chunks after `cursor` (from the first when None) up to the last one."""
        place = _resumed(cursor)
        job = self._begun() if place is None else place.job
        try:
            state = self._finished(job)
            with tempfile.TemporaryFile() as file:
                self._download(job, state, file)
                yield from self._chunks(job, file, place)
        except NotThere as error:
            if place is None:
                raise
            raise PositionRefused(f"the provider no longer has the earlier job: {error}") from None

    def close(self) -> None:
        """End requests and waits that are under way and close connections."""
        self._closed.set()
        super().close()

    def _chunks(self, job: str, file: IO[bytes], until: JobPlace | None) -> Iterator[Page]:
        """The chunks after the position `until`.

        Chunks are compared, and not bytes of the file, because a provider may compress it again.
        """
        place, read = JobPlace(job), 0 if until is None else until.chunks
        # One chunk is held back, so that the last one is known to be the last.
        held: tuple[bytes, int, JobPlace] | None = None
        for chunk in chunks(file, "the job's file", self._file, self._limits):
            if held is not None:
                cut = page_limit_reached(self._limits.max_pages)
                too_many = place.chunks >= self._limits.max_pages
                yield self._page(held, cut if too_many else None, last=False)
                if too_many:
                    return
            place = place.past(chunk.body)
            if place.chunks > read:
                held = chunk.body, chunk.count, place
            elif place.chunks == read and place != until:
                raise _another()
        if place.chunks < read:
            raise _another()
        yield Page(b"[]", 0, None) if held is None else self._page(held, None, last=True)

    def _page(self, held: tuple[bytes, int, JobPlace], cut: str | None, *, last: bool) -> Page:
        body, count, place = held
        if self._where is not None:
            body, count = kept(body, (), self._where, "the job's file")
        return Page(body, count, None if last else msgspec.to_builtins(place), cut_short=cut)

    def _begun(self) -> str:
        what = "the job"
        request, body = self._pages.requests.at(what, None), self._pages.requests.body

        def read(response: Response) -> Any:
            if body is not None:
                body.check(response.body, what)
            return self._document(response, what)

        job = text_at(parse(self._job.id), self.client.fetch(request, read))
        if not job or len(job) > _LONGEST_ID or job in (".", ".."):
            raise PageUnreadable("the answer that begins the job has no id; correct job.id")
        return job

    def _finished(self, job: str) -> Any:
        """The state of the job once it is done."""
        described = self._job
        every = duration(described.every).total_seconds()
        ends = time.monotonic() + duration(described.most).total_seconds()
        what = "the job's state"
        request = PageRequest(what, self._address(described.poll, job))
        done = parse(described.done)
        failed = None if described.failed is None else parse(described.failed)
        while True:
            state = self.client.fetch(request, lambda response: self._document(response, what))
            if holds(done, state):
                return state
            if failed is not None and holds(failed, state):
                raise ProviderRefused(f"the job failed{self._words(state)}")
            if time.monotonic() + every > ends:
                raise ProviderUnavailable(
                    f"the job is not done after {described.most}, the longest time allowed "
                    "(job.most)"
                )
            with slot.waiting(every):
                self._closed.wait(every)
            if self._closed.is_set():
                raise ProviderUnavailable("the job was not waited for: the source is closed")

    def _download(self, job: str, state: Any, into: IO[bytes]) -> None:
        described, what = self._job, "the job's file"
        if described.download is not None:
            request = PageRequest(what, self._address(described.download, job), into=into)
        else:
            assert described.url is not None  # noqa: S101
            found = text_at(parse(described.url), state)
            if not found:
                raise PageUnreadable(
                    "the job is done and its state has no address; correct job.url"
                )
            url = urljoin(f"{self._endpoint}/", found)
            trusted = self._origins.may_carry_credentials(url, "the address of the job's file")
            request = PageRequest(what, url, with_credentials=trusted, into=into)
        self.client.fetch(request, lambda _: None)

    def _address(self, path: str, job: str) -> str:
        names = {**self._names, "job": quote(job, safe="")}
        return f"{self._endpoint}/{filled(path.lstrip('/'), names)}"

    def _document(self, response: Response, what: str) -> Any:
        try:
            return decode(response.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise PageUnreadable(f"{what} is not JSON") from None

    def _words(self, state: Any) -> str:
        if self._job.message is None:
            return ""
        words = text_at(parse(self._job.message), state)
        if not words or "@" in words or not words.isprintable():
            return ""
        return f": {words[:_LONGEST_WORDS]}"


def _another() -> PositionRefused:
    return PositionRefused("the job's file has changed since the interruption")


def _resumed(cursor: Cursor | None) -> JobPlace | None:
    if cursor is None:
        return None
    try:
        return msgspec.convert(cursor, JobPlace)
    except msgspec.ValidationError:
        raise PermanentError("the saved position is not one of a job; start a new sync") from None
