"""Request the details of each record of a page, and put each answer into its record.

As many requests are sent at once as the integration's concurrency allows. Pages whose details need
not be requested again are decided in `refined_source`.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from urllib.parse import quote

import msgspec
from pydantic import Field, model_validator

from elt_assets.connectors import slot
from elt_assets.connectors.http.http_client import Client, NotThere, PageRequest, Response
from elt_assets.connectors.json.json_limits import decode
from elt_assets.connectors.json.malformed_records import UNREADABLE, marker
from elt_assets.connectors.json.record_list import sound_list, with_records
from elt_assets.connectors.mapping.evaluate import text_at
from elt_assets.connectors.mapping.expressions import Expression
from elt_assets.connectors.mapping.templates import filled
from elt_assets.connectors.provider_fields import Strict
from elt_assets.connectors.rest.configuration.text_types import (
    FieldExpression,
    Keys,
    Parameter,
    SingleParameter,
    SinglePath,
)
from elt_assets.errors import PageUnreadable

_NAME = r"^[A-Za-z][A-Za-z0-9_]{0,62}$"


class RecordDetails(Strict):
    """A further request for each record, for values that the listing lacks."""

    path: SinglePath = Field(description="Path with {external_id}, e.g. /users/{external_id}.")
    params: dict[Parameter, SingleParameter] = Field(
        {}, description="Query parameters of that request; they may contain {external_id}."
    )
    record: Keys = Field(
        "", description="Where the details are in the answer; empty when the answer is the details."
    )
    into: str = Field(
        "detail",
        pattern=_NAME,
        description="Name under which expressions find the details, e.g. email: detail.email.",
    )
    unchanged: FieldExpression | None = Field(
        None,
        description="Value of a listed record that changes whenever its details change, e.g. "
        "updated_at. If it is the same for all records of a page, their details are not requested "
        "again.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> RecordDetails:
        if not any("{external_id}" in text for text in (self.path, *self.params.values())):
            raise ValueError("path has no {external_id}, where the record's id is to stand")
        return self


@dataclass(frozen=True)
class Details:
    """Requests the details of one stream's records."""

    client: Client
    url: str
    params: Mapping[str, str]
    keys: tuple[str, ...]
    into: str
    key: Expression
    unchanged: Expression | None
    canonical: Callable[[bytes], bytes]
    concurrency: int
    most_bytes: int

    def mark(self, body: bytes, records: tuple[str, ...]) -> str | None:
        """A mark that is equal for two pages if their records need not be completed again.

        None if the configuration has no `unchanged`.
        """
        unchanged = self.unchanged
        if unchanged is None:
            return None
        digest = hashlib.sha256()

        def read(found: list[msgspec.Raw]) -> list[msgspec.Raw]:
            for record in found:
                document = decode(record)
                pair = [text_at(self.key, document), text_at(unchanged, document)]
                digest.update(msgspec.json.encode(pair if None not in pair else document))
            return found

        _changed(body, records, read)
        return digest.hexdigest()

    def completed(
        self, body: bytes, records: tuple[str, ...], stop: threading.Event
    ) -> tuple[bytes, int]:
        """The page with the details in each record, and the number of records.

        `stop` ends waits; this method sets it at the end. Raises as `Source.pages` does.
        """
        return _changed(body, records, lambda found: self._all(found, stop))

    def _all(self, found: list[msgspec.Raw], stop: threading.Event) -> list[msgspec.Raw]:
        pool = ThreadPoolExecutor(self.concurrency, thread_name_prefix="pages-details")
        try:
            # Each in a copy of the context, so that a wait in the thread releases this reader's
            # slot.
            asked = [pool.submit(copy_context().run, self._one, record, stop) for record in found]
            with slot.blocked():
                return self._bounded(asked)
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)

    def _bounded(self, asked: list[Future[bytes]]) -> list[msgspec.Raw]:
        made: list[msgspec.Raw] = []
        size = 0
        for one in asked:
            record = one.result()
            size += len(record)
            if size > self.most_bytes:
                raise PageUnreadable(
                    f"the details of one page have more than {self.most_bytes:,} bytes "
                    "(ELT_ASSETS_PAGE_BYTES); ask for fewer records a page"
                )
            made.append(msgspec.Raw(record))
        return made

    def _one(self, record: msgspec.Raw, stop: threading.Event) -> bytes:
        document = decode(record)
        key = text_at(self.key, document)
        if not isinstance(document, dict) or UNREADABLE in document or not key:
            # The engine rejects this record, so its details are not needed.
            return bytes(record)
        if key in (".", ".."):
            return marker(bytes(record), "its key cannot stand in the address of its details")
        url = self.url.replace("{external_id}", quote(key, safe=""))
        params = {name: filled(text, {"external_id": key}) for name, text in self.params.items()}
        try:
            found = self.client.fetch(
                PageRequest(f"the details of {key!r}", url, params), self._read, stop
            )
        except NotThere:
            return marker(bytes(record), "its details do not exist, although it is listed")
        members = msgspec.json.decode(record, type=dict[str, msgspec.Raw])
        return msgspec.json.encode(members | {self.into: msgspec.Raw(found)})

    def _read(self, response: Response) -> bytes:
        what = "the details of a record"
        try:
            place: bytes | msgspec.Raw = self.canonical(response.body)
            for key in self.keys:
                place = msgspec.json.decode(place, type=dict[str, msgspec.Raw])[key]
            found = sound_list([bytes(place)], lambda _: what)[1:-1]
            if not isinstance(decode(found), dict) or found.startswith(b'{"$unreadable"'):
                raise PageUnreadable(f"{what} are no object; correct details.record")
        except (msgspec.DecodeError, KeyError, UnicodeDecodeError, RecursionError):
            raise PageUnreadable(f"{what} are not in the answer; correct details.record") from None
        return found


def _changed(
    body: bytes,
    records: tuple[str, ...],
    change: Callable[[list[msgspec.Raw]], list[msgspec.Raw]],
) -> tuple[bytes, int]:
    try:
        return with_records(body, records, change)
    except (msgspec.DecodeError, KeyError, RecursionError, UnicodeDecodeError):
        raise PageUnreadable("the records of a page cannot be separated") from None
