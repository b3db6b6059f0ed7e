"""What an answer about one record means.

A record is gone only if the API itself answers so: with the control's content type, or with a SCIM
error. A page of a proxy, a refusal or a redirect proves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from elt_assets.connectors.json.json_limits import decode
from elt_assets.connectors.mapping.evaluate import holds, text_at
from elt_assets.connectors.mapping.expressions import Expression
from elt_assets.connectors.source import Presence

_SCIM_ERROR = "urn:ietf:params:scim:api:messages:2.0:error"
NOT_THERE = frozenset({404, 410})
"""Statuses by which a provider says that there is no such record."""


@dataclass(frozen=True, slots=True)
class ProbeAnswer:
    """An answer to a probe, not yet judged."""

    status: int
    media_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class ProbeShape:
    """Where a record is in an answer, and which records do not belong to the stream.

    `active` is false for a record that the stream does not list. `gone_if` is true of a document
    that says with status 200 that there is no record. If the listing is `filtered` by something
    that a single answer does not contain, a returned record may have left the listing.
    """

    external_id: Expression
    record: tuple[str, ...] = ()
    active: Expression | None = None
    gone_if: Expression | None = None
    filtered: bool = False
    where: Expression | None = None
    """The listing's own filter of records; a record for which it is false counts as gone."""

    def judge(self, answer: ProbeAnswer, key: str, control: ProbeAnswer) -> Presence:
        """Judge the presence of `key` by its answer and the answer to a control that is present."""
        if answer.status in NOT_THERE:
            return Presence.GONE if of_the_api(answer, control) else Presence.UNKNOWN
        found = self.found(answer, key)
        if found is Presence.GONE and not of_the_api(answer, control):
            return Presence.UNKNOWN
        return Presence.UNKNOWN if found is Presence.PRESENT and self.filtered else found

    def found(self, answer: ProbeAnswer, key: str) -> Presence:
        """The presence of `key` by its answer alone; UNKNOWN for an error."""
        document = _decoded(answer.body) if 200 <= answer.status < 300 else None
        if document is None:
            return Presence.UNKNOWN
        if self.gone_if is not None and holds(self.gone_if, document):
            return Presence.GONE
        for name in self.record:
            document = document.get(name) if isinstance(document, dict) else None
        return self.of_record(document, key)

    def of_record(self, record: Any, key: str) -> Presence:
        """The presence of `key` by the record that was returned for it."""
        if self.key_of(record) != key:
            return Presence.UNKNOWN
        for counts in (self.where, self.active):
            if counts is not None and not holds(counts, record):
                return Presence.GONE
        return Presence.PRESENT

    def key_of(self, record: Any) -> str | None:
        return text_at(self.external_id, record)


def answer_of(status: int, headers: Mapping[str, str], body: bytes) -> ProbeAnswer:
    """An answer with its content type in lower case and without parameters."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    return ProbeAnswer(status, kind, body)


def of_the_api(answer: ProbeAnswer, control: ProbeAnswer) -> bool:
    """Whether an answer comes from the API that answered the control, and not from a proxy."""
    document = _decoded(answer.body)
    if document is None:
        return False
    if isinstance(document, dict):
        schemas = document.get("schemas")
        named = schemas if isinstance(schemas, list) else []
        if any(isinstance(one, str) and one.lower() == _SCIM_ERROR for one in named):
            return True
    return answer.media_type == control.media_type or (
        _is_json(answer.media_type) and _is_json(control.media_type)
    )


def _is_json(kind: str) -> bool:
    return kind == "application/json" or kind.endswith("+json")


def _decoded(body: bytes) -> Any:
    try:
        return decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
