"""A chunk of a file: some records as the body of a page, and the position after them.

The module also defines the limits of a chunk and the marker that replaces an unreadable record.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from elt_assets.connectors.json.malformed_records import UNREADABLE

RECORDS = 5_000
"""Records of one chunk, at most."""

BYTES = 8 * 2**20
"""Approximate bytes of the file in one chunk; a record is never cut."""

_SHOWN_TEXT = 2_000

Place = dict[str, int]
"""Where reading continues in a file. Each format has keys of its own; `{}` is the start."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some records of one file: a JSON list, its length, and the place after it."""

    body: bytes
    count: int
    after: Place


def unreadable(reason: str, text: bytes = b"") -> dict[str, Any]:
    """The marker that replaces a record that cannot be split into values."""
    found = {UNREADABLE: reason}
    if text:
        found["$text"] = text[:_SHOWN_TEXT].decode("utf-8", errors="replace").rstrip("\r\n")
    return found


encoded = msgspec.json.Encoder(enc_hook=str).encode
