"""Build the body of a page from records that did not arrive as a list.

Records arrive one by one, as a single one, or not at all. Every later step can read the body; a
marker replaces each record that is not JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from elt_assets.connectors.json.json_scan import has_long_number
from elt_assets.connectors.json.malformed_records import marker, reason_unreadable

_LIST: msgspec.json.Decoder[list[msgspec.Raw]] = msgspec.json.Decoder(list[msgspec.Raw])


def sound_list(records: Sequence[bytes], where: Callable[[int], str]) -> bytes:
    """A JSON list of `records`; `where` names the record at an index if it is not JSON."""
    body = json_list(records)
    if _is_sound(body, len(records)):
        return body
    return json_list(
        [_sound_or_marker(record.strip(), where(at)) for at, record in enumerate(records)]
    )


def json_list(records: Sequence[bytes]) -> bytes:
    """A JSON list of JSON texts."""
    return b"[" + b",".join(records) + b"]"


def empty_page(keys: Sequence[str]) -> bytes:
    """A page with no records in its list at `keys`."""
    page: Any = []
    for key in reversed(keys):
        page = {key: page}
    return msgspec.json.encode(page)


def with_records(
    body: bytes | msgspec.Raw,
    keys: Sequence[str],
    change: Callable[[list[msgspec.Raw]], list[msgspec.Raw]],
) -> tuple[bytes, int]:
    """`body` with the result of `change` as its list at `keys`, and the length of that list.

    Raises `msgspec.DecodeError`, `KeyError`, `RecursionError` or `UnicodeDecodeError`.
    """
    if not keys:
        found = change(msgspec.json.decode(body, type=list[msgspec.Raw]))
        return msgspec.json.encode(found), len(found)
    page = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    inner, count = with_records(page[keys[0]], keys[1:], change)
    return msgspec.json.encode(page | {keys[0]: msgspec.Raw(inner)}), count


def with_lone_record(
    body: bytes | msgspec.Raw, keys: Sequence[str], is_record: Callable[[Any], bool]
) -> bytes | None:
    """`body` with the single record at `keys` wrapped into a list; None if there is no record."""
    try:
        if not keys:
            return b"[" + bytes(body) + b"]" if is_record(msgspec.json.decode(body)) else None
        page = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        inner = with_lone_record(page[keys[0]], keys[1:], is_record)
    except (msgspec.DecodeError, KeyError, UnicodeDecodeError, RecursionError):
        return None
    return None if inner is None else msgspec.json.encode(page | {keys[0]: msgspec.Raw(inner)})


def _is_sound(body: bytes, records: int) -> bool:
    try:
        return (
            len(_LIST.decode(body)) == records
            and (body.isascii() or bool(body.decode()))
            and not has_long_number(body)
        )
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def _sound_or_marker(record: bytes, where: str) -> bytes:
    reason = reason_unreadable(record)
    return record if reason is None else marker(record, f"{where}: {reason}")
