"""Records that came one by one as a page's list, with a marker for each that is not JSON.

Belongs here: joining JSON texts into a body that every later step can read. Does not:
where they came from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from elt_assets.connectors.json.json_scan import has_long_number
from elt_assets.connectors.json.malformed_records import marker, reason_unreadable

_LIST: msgspec.json.Decoder[list[msgspec.Raw]] = msgspec.json.Decoder(list[msgspec.Raw])


def sound_list(records: Sequence[bytes], where: Callable[[int], str]) -> bytes:
    """A JSON list of `records`; `where` names the one at a position when it is no JSON."""
    body = json_list(records)
    if _is_sound(body, len(records)):
        return body
    return json_list(
        [_sound_or_marker(record.strip(), where(at)) for at, record in enumerate(records)]
    )


def json_list(records: Sequence[bytes]) -> bytes:
    """A JSON list of JSON texts."""
    return b"[" + b",".join(records) + b"]"


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
