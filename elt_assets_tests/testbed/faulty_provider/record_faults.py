"""Faults in single records, byte by byte."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from elt_assets_tests.testbed.faulty_provider.fault import (
    FAILED,
    INCOMPLETE,
    RIGHT,
    Endings,
    Exchange,
    Family,
    Fault,
)

Change = Callable[[bytes], bytes]


def _one(change: Change) -> Callable[[Exchange], object]:
    """Damage one record of the page."""

    def act(exchange: Exchange) -> object:
        place = exchange.victim()
        if place is None:
            return False
        exchange.page.records[place] = change(exchange.page.records[place])
        return None

    return act


def _member(name: str, value: bytes) -> Change:
    """Set a member of the record or of its profile to these bytes."""

    def change(record: bytes) -> bytes:
        document = msgspec.json.decode(record)
        holder = document["profile"] if name in document["profile"] else document
        holder[name] = "\0place\0"
        return msgspec.json.encode(document).replace(b'"\\u0000place\\u0000"', value)

    return change


def _added(member: bytes) -> Change:
    """Insert a member before all others."""
    return lambda record: b"{" + member + b"," + record[1:]


def _without_an_id(record: bytes) -> bytes:
    document = msgspec.json.decode(record)
    del document["id"]
    return msgspec.json.encode(document)


def _appended(member: bytes) -> Change:
    return lambda record: record[:-1] + b"," + member + b"}"


def _stale(record: bytes) -> bytes:
    document = msgspec.json.decode(record)
    document["profile"]["displayName"] = "As it was long ago"
    document["lastUpdated"] = "2001-01-01T00:00:00Z"
    return msgspec.json.encode(document)


def _stale_copy_later(exchange: Exchange) -> object:
    record = exchange.earlier_record()
    if record is None:
        return False
    exchange.page.records.append(_stale(record))
    return None


def _stale_copy_beside(exchange: Exchange) -> object:
    if not exchange.page.records:
        return False
    record = exchange.chance.choice(exchange.page.records)
    exchange.page.records.insert(exchange.chance.randint(0, 1), _stale(record))
    return None


def _same_record_twice(exchange: Exchange) -> object:
    if not exchange.page.records:
        return False
    exchange.page.records.append(exchange.chance.choice(exchange.page.records))
    return None


def _foreign(record: bytes) -> Callable[[Exchange], object]:
    """Add a record of a person who does not exist."""
    identity = str(msgspec.json.decode(record).get("id"))

    def act(exchange: Exchange) -> None:
        exchange.affliction.keys.add(identity)
        exchange.page.records.append(record)

    return act


def _reversed(exchange: Exchange) -> object:
    exchange.page.records.reverse()
    return bool(exchange.page.records)


def _spaced(exchange: Exchange) -> object:
    exchange.page.records = [b" \r\n\t" + record + b"\n" for record in exchange.page.records]
    return bool(exchange.page.records)


# An unusable record proves that its person exists, or that the listing is incomplete. In a small
# listing one such record is already too many.
_SHIELDED = RIGHT | FAILED
_KEYLESS = INCOMPLETE | FAILED
# A provider that counts a record twice may also have left another one out.
_TWICE = RIGHT | INCOMPLETE


def _content(
    name: str,
    act: Callable[[Exchange], object],
    fleeting: Endings,
    lasting: Endings | None = None,
    **more: Any,
) -> Fault:
    return Fault(name, Family.CONTENT, fleeting, lasting, act=act, **more)


def _shielded(name: str, change: Change) -> Fault:
    """An unusable record of a person whose key is readable."""
    return _content(name, _one(change), _SHIELDED, _SHIELDED)


def _keyless(name: str, change: Change) -> Fault:
    """An unusable record without a readable key."""
    return _content(name, _one(change), _KEYLESS, _KEYLESS)


_DEEP = b"[" * 20_000 + b"]" * 20_000

FAULTS = (
    _content("stale_copy_on_a_later_page", _stale_copy_later, _TWICE, from_page=2, extra=1),
    _content("stale_copy_beside_the_record", _stale_copy_beside, _TWICE, extra=1),
    _content("same_record_twice", _same_record_twice, _TWICE, extra=1),
    _keyless("no_id", _without_an_id),
    _keyless("null_id", _member("id", b"null")),
    _keyless("empty_id", _member("id", b'""')),
    _keyless("object_for_an_id", _member("id", b'{"value":"u-1"}')),
    _keyless("true_for_an_id", _member("id", b"true")),
    _keyless("huge_id", _member("id", b'"' + b"i" * 5000 + b'"')),
    _keyless("null_character_in_an_id", _member("id", b'"u-\\u0000001"')),
    _keyless("half_a_surrogate_pair_in_an_id", _member("id", b'"u-\\ud800"')),
    _keyless("invalid_utf_8_in_an_id", _member("id", b'"u-\xff\xfe"')),
    _keyless("two_ids_in_a_record", _added(b'"id":"phantom-of-two-ids"')),
    _keyless("another_id_at_the_end", _appended(b'"id":"phantom-at-the-end"')),
    _keyless("null_for_a_record", lambda _: b"null"),
    _keyless("number_for_a_record", lambda _: b"17"),
    _keyless("text_for_a_record", lambda _: b'"u-000001"'),
    _keyless("list_for_a_record", lambda record: b"[" + record + b"]"),
    _content("number_for_an_id", _foreign(b'{"id":90071992547409931}'), RIGHT, extra=1),
    _shielded("object_for_a_name", _member("displayName", b'{"first":"A","last":"B"}')),
    _shielded("list_for_an_email", _member("email", b'["a@example.com"]')),
    _shielded("nonsense_for_a_time", _member("lastUpdated", b'"yesterday"')),
    _shielded("null_character_in_a_name", _member("displayName", b'"a\\u0000b"')),
    _shielded("half_a_surrogate_pair", _member("displayName", b'"a\\udc00b"')),
    _shielded("invalid_utf_8", _member("displayName", b'"a\xc3\x28b"')),
    _shielded("raw_control_character", _member("displayName", b'"a\x01b"')),
    _shielded("not_a_number", _member("displayName", b"NaN")),
    _shielded("huge_text", _member("displayName", b'"' + b"n" * 300_000 + b'"')),
    _shielded("deep_nesting", _appended(b'"deep":' + _DEEP)),
    _content("huge_unmapped_text", _one(_appended(b'"x":"%b"' % (b"y" * 300_000))), RIGHT),
    _content("huge_number", _one(_appended(b'"n":1e400')), _SHIELDED),
    _content("reversed_page", _reversed, RIGHT, RIGHT),
    _content("odd_white_space", _spaced, RIGHT, RIGHT),
    _content(
        "quote_that_is_not_escaped",
        _one(_member("displayName", b'"Robert "Bob" T"')),
        _SHIELDED | INCOMPLETE,
    ),
)
