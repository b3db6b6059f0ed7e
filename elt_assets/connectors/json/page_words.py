"""Descriptions of unexpected JSON for error messages; they show keys and never values."""

from __future__ import annotations

import msgspec

from elt_assets.connectors.json.json_limits import TooComplex, decode
from elt_assets.connectors.mapping.expressions import written

Keys = tuple[str, ...]

_SHOWN_KEYS = 8
_SHOWN_LENGTH = 40


def kind(value: object) -> str:
    """A description of a decoded JSON value, with keys but without values."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case list():
            return "an empty list" if not value else f"a list of {len(value)}"
        case dict():
            return _object_kind(list(value))
    return "something else"


def described(body: bytes) -> str:
    """A description of a whole body, for errors about an unexpected answer."""
    start = body.lstrip()[:1]
    if not start:
        return "with nothing to read"
    return _found(body, ()) if start in (b"{", b"[") else text_kind(body)


def _object_kind(keys: list[str]) -> str:
    if not keys:
        return "an empty object"
    shown = ", ".join(_shortened(key) for key in sorted(keys)[:_SHOWN_KEYS])
    more = f" and {len(keys) - _SHOWN_KEYS} more" if len(keys) > _SHOWN_KEYS else ""
    return f"an object with keys {shown}{more}"


def _shortened(key: str) -> str:
    key = "".join(character if character.isprintable() else "?" for character in key)
    return key if len(key) <= _SHOWN_LENGTH else key[: _SHOWN_LENGTH - 1] + "…"


def text_kind(body: bytes) -> str:
    """A description of a body that is not JSON."""
    start = body.lstrip()[:1]
    return "an HTML or XML document" if start == b"<" else f"a body of {len(body):,} bytes"


def walk(body: bytes, keys: Keys, wanted: str) -> str | None:
    """A description of the value at `keys`, or of the one that ends the path; None if as `wanted`.

    An absent value is as wanted where an object is wanted.
    """
    raw: bytes | msgspec.Raw = body
    for depth, key in enumerate(keys):
        try:
            inside = decode(raw, type=dict[str, msgspec.Raw])
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            return _found(raw, keys[:depth])
        if key not in inside:
            if wanted == "object":
                return None
            return f"{_object_kind(list(inside))}{_place(keys[:depth])}"
        raw = inside[key]
    start = bytes(raw).lstrip()[:1]
    if (wanted == "list" and start == b"[") or (wanted == "object" and start in (b"{", b"n")):
        return None
    return _found(raw, keys)


def _found(raw: bytes | msgspec.Raw, keys: Keys) -> str:
    try:
        return f"{kind(decode(raw))}{_place(keys)}"
    except TooComplex:
        # Too large to decode; its first byte shows whether it is a list or an object.
        listed = bytes(raw).lstrip()[:1] == b"["
        return f"{'a large list' if listed else 'a large object'}{_place(keys)}"
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return f"something unreadable{_place(keys)}"


def _place(keys: Keys) -> str:
    return f" at {written(keys)!r}" if keys else ""
