"""Replace the malformed records of a page by markers, so that the rest of the page can be used.

A record is malformed if it is not JSON: invalid UTF-8, half a surrogate pair, control characters,
NaN, or unlimited nesting. Its marker is a JSON object with the key `$unreadable`, which the engine
rejects with the reason that it carries.

A marker keeps the readable values of the record, byte for byte under the same names. The ordinary
expressions still find the record's key in it, so its user is protected from deletion. A damaged
value is null, never a guess: a guessed key would protect the wrong user. If names or brackets are
damaged or a name occurs twice, the marker keeps nothing, not even the key: the text may be two
records, and only one of them would be protected.
"""

from __future__ import annotations

import json

import msgspec

from elt_assets.connectors.json import json_scan

UNREADABLE = "$unreadable"
"""The key that makes a record a marker; its value is the reason, in words."""

_MOST_DAMAGED = 10_000
"""Most malformed records of a page; a page with more of them is malformed as a whole."""
_SEARCHED_DEPTH = 8
"""How deep readable values are kept inside a malformed record; a key is never deeper."""


def replace_malformed(body: bytes, records: tuple[str, ...]) -> bytes | None:
    """`body` with markers for its malformed records.

    None if the records cannot be separated or too many are malformed: then the error of the strict
    decoder applies to the page.
    """
    try:
        start = json_scan.list_start(body, records)
        spans, end = json_scan.elements(body, start)
    except json_scan.NotBalanced:
        return None
    kept = []
    damaged = 0
    for first, last in spans:
        record = body[first:last]
        kept.append(_sound_or_marker(record))
        damaged += kept[-1] is not record
        if damaged > _MOST_DAMAGED:
            return None
    return b"".join((body[:start], b"[", b",".join(kept), b"]", body[end:]))


def marker(record: bytes, reason: str) -> bytes:
    """The marker of `record`: the reason, then the readable members of the record."""
    found = [_member(json.dumps(UNREADABLE).encode(), json.dumps(reason).encode())]
    if record.startswith(b"{"):
        try:
            json_scan.check_structure(record)
            found += _sound_members(record, _SEARCHED_DEPTH)
        except json_scan.NotBalanced:
            pass
    return b"{" + b",".join(found) + b"}"


def reason_unreadable(value: bytes) -> str | None:
    """Why a later step could not read `value` as JSON; None if every step can."""
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError as error:
        return f"invalid UTF-8 at byte {error.start}"
    try:
        msgspec.json.decode(value, type=msgspec.Raw)
    except RecursionError:
        return "nested too deep"
    except msgspec.DecodeError:
        return _complaint(text)
    if json_scan.has_long_number(value):
        return f"a number of {json_scan.LONGEST_NUMBER:,} digits or more"
    return None


def _complaint(text: str) -> str:
    # msgspec reports half a surrogate pair as truncation. Python's decoder accepts it, and its
    # errors name a position and never quote the text.
    try:
        json.loads(text, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        return f"not valid JSON: {error.msg.removesuffix(' at')} at character {error.pos}"
    except ValueError:
        return "not valid JSON: NaN or Infinity"
    except RecursionError:
        return "nested too deep"
    return "not valid JSON: half of a surrogate pair"


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _sound_or_marker(record: bytes) -> bytes:
    reason = reason_unreadable(record)
    return record if reason is None else marker(record, reason)


def _sound_members(text: bytes, depth: int) -> list[bytes]:
    """The members of a damaged object, with null for damaged values.

    Raises `NotBalanced` where a name cannot be read or occurs twice.
    """
    found = {}
    for (name_start, name_end), (start, end) in json_scan.members(text, 0):
        name = json_scan.name_of(text[name_start:name_end])
        if name is None or name in found:
            raise json_scan.NotBalanced("a name that is unreadable or stands twice")
        found[name] = _member(text[name_start:name_end], _sound_value(text[start:end], depth))
    return list(found.values())


def _sound_value(value: bytes, depth: int) -> bytes:
    if reason_unreadable(value) is None:
        return value
    if value.startswith(b"{") and depth:
        return b"{" + b",".join(_sound_members(value, depth - 1)) + b"}"
    return b"null"


def _member(name: bytes, value: bytes) -> bytes:
    return name + b":" + value
