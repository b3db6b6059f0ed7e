"""Find values in JSON text that a strict decoder refuses, by its brackets and quotes alone.

The module finds where a value starts and ends, and whether the text is truncated. Only
`has_long_number` runs for every page; the rest is for damaged or very large ones. What a broken
page means is decided in `page_envelope`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

_SPACE = re.compile(rb"[ \t\r\n]*+")
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_SCALAR = re.compile(rb'[^\s,:\[\]{}"]++')
_NEST = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)
# An object or list without another one inside is one token: most of a page consists of these.
_NEST_OR_FLAT = re.compile(
    rb'"(?:[^"\\]++|\\.)*+"?|[\[{](?:[^\[\]{}"]++|"(?:[^"\\]++|\\.)*+")*+[\]}]|[\[\]{}]', re.DOTALL
)

_TOKEN = re.compile(
    rb'[ \t\r\n]*+(?:("(?:[^"\\]++|\\.)*+")|([^\s,:\[\]{}"]++)|([,:\[\]{}]))', re.DOTALL
)
_TRAILING_SPACE = re.compile(rb"[ \t\r\n]*+\Z")

LONGEST_NUMBER = 1_000
"""Digits. Python refuses whole numbers of more than 4,300."""
_SAMPLE = LONGEST_NUMBER // 10
_DIGITS = bytes(48 if 48 <= byte <= 57 else 32 for byte in range(256))
"""Maps digits to "0" and other bytes to spaces: translation is ten times as fast as a search."""
_MANY_DIGITS = b"0" * 9
_BUT_LONG_NUMBERS = re.compile(
    rb'(?:"(?:[^"\\]++|\\.)*+"|[^"0-9]++|[0-9]{1,%d}+(?![0-9]))*+' % (LONGEST_NUMBER - 1),
    re.DOTALL,
)

_MOST_MEMBERS = 100_000
"""Most members of an object that is searched for the list of records; each takes microseconds."""

Span = tuple[int, int]


class NotBalanced(ValueError):
    """The text lacks a value where one must be, or does not close an object or list."""


def skip_space(text: bytes, position: int) -> int:
    """The position of the next byte that is not white space."""
    found = _SPACE.match(text, position)
    return found.end() if found else position


def skip_value(text: bytes, position: int) -> int:
    """The end of the value at `position`. Raises `NotBalanced`."""
    start = text[position : position + 1]
    if start in (b"{", b"["):
        depth = 0
        for token in _NEST_OR_FLAT.finditer(text, position):
            mark = token[0]
            if mark in (b"{", b"["):
                depth += 1
            elif mark in (b"}", b"]"):
                depth -= 1
            if depth == 0:
                return token.end()
        raise NotBalanced("an object or list is not closed")
    found = (_STRING if start == b'"' else _SCALAR).match(text, position)
    if found is None:
        raise NotBalanced("no value")
    return found.end()


def members(text: bytes, position: int) -> Iterator[tuple[Span, Span]]:
    """The spans of each name (with its quotes) and value of the object at `position`."""
    position = _opened(text, position, b"{")
    while text[position : position + 1] != b"}":
        name = (position, skip_value(text, position))
        position = skip_space(text, name[1])
        if text[position : position + 1] != b":":
            raise NotBalanced("a name without a value")
        position = skip_space(text, position + 1)
        value = (position, skip_value(text, position))
        yield name, value
        position = _next(text, value[1], b"}")


def check_structure(text: bytes) -> None:
    """Raise `NotBalanced` unless every name, colon, value and comma is where one belongs.

    Strings and scalars may hold anything. After a missing quote, strings look like structure and
    structure like strings. Brackets then no longer show where a record ends, and two records may
    look like one.
    """
    awaited = "value"
    open_brackets: list[bytes] = []
    position = 0
    while not (position and not open_brackets):
        token = _TOKEN.match(text, position)
        if token is None:
            raise NotBalanced("neither a value nor a mark")
        position = token.end()
        awaited = _after(token[3] or b"", awaited, open_brackets)
    if not _TRAILING_SPACE.match(text, position):
        raise NotBalanced("something after the end")


def _after(mark: bytes, awaited: str, open_brackets: list[bytes]) -> str:
    """What must follow `mark`, given that `awaited` was expected in its place.

    `mark` is empty for a string or scalar.
    """
    match mark, awaited:
        case (b"", "value" | "value or end"):
            return "comma or end"
        case (b"", "name" | "name or end"):
            return "colon"
        case (b"{" | b"[", "value" | "value or end"):
            open_brackets.append(mark)
            return "name or end" if mark == b"{" else "value or end"
        case (b":", "colon"):
            return "value"
        case (b",", "comma or end") if open_brackets:
            return "name" if open_brackets[-1] == b"{" else "value"
        case (b"}", "name or end" | "comma or end") if open_brackets[-1:] == [b"{"]:
            open_brackets.pop()
            return "comma or end"
        case (b"]", "value or end" | "comma or end") if open_brackets[-1:] == [b"["]:
            open_brackets.pop()
            return "comma or end"
    raise NotBalanced(f"no {awaited}")


def elements(text: bytes, position: int) -> tuple[list[Span], int]:
    """The span of each value of the list at `position`, and the end of the list."""
    position = _opened(text, position, b"[")
    found = []
    while text[position : position + 1] != b"]":
        found.append((position, skip_value(text, position)))
        position = _next(text, found[-1][1], b"]")
    return found, position + 1


def list_start(body: bytes, keys: tuple[str, ...]) -> int:
    """The start of the value at `keys`. Raises `NotBalanced` unless there is exactly one."""
    position = skip_space(body, 0)
    for key in keys:
        wanted = []
        for number, ((first, last), (value, _)) in enumerate(members(body, position)):
            if number >= _MOST_MEMBERS:
                raise NotBalanced("too many members")
            if name_of(body[first:last]) == key:
                wanted.append(value)
        if len(wanted) != 1:
            raise NotBalanced(f"{len(wanted)} members of that name")
        position = wanted[0]
    return position


def has_more_than(text: bytes, position: int, most: int) -> bool:
    """Whether the list at `position` has more than `most` values; reads no further than that."""
    position = _opened(text, position, b"[")
    for _ in range(most + 1):
        if text[position : position + 1] == b"]":
            return False
        position = _next(text, skip_value(text, position), b"]")
    return True


def name_of(quoted: bytes) -> str | None:
    """The text of a member's name, or None if it cannot be read."""
    try:
        return msgspec.json.decode(quoted, type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def has_long_number(text: bytes) -> bool:
    """Whether a number in the text has `LONGEST_NUMBER` digits or more: JSON readers refuse it."""
    # A number of 1,000 digits has a digit at nine successive multiples of 100. This check is cheap
    # and excludes most pages.
    if _MANY_DIGITS not in text[::_SAMPLE].translate(_DIGITS):
        return False
    others = _BUT_LONG_NUMBERS.match(text)
    return others is not None and text[others.end() : others.end() + 1].isdigit()


def ends_early(text: bytes) -> bool:
    """Whether the text stops inside a string, an object or a list."""
    depth = 0
    for token in _NEST.finditer(text):
        mark = token[0]
        if mark in (b"{", b"["):
            depth += 1
        elif mark in (b"}", b"]"):
            depth -= 1
        elif not _STRING.fullmatch(mark):
            return True
    return depth > 0


def _opened(text: bytes, position: int, bracket: bytes) -> int:
    if text[position : position + 1] != bracket:
        raise NotBalanced(f"no {bracket.decode()}")
    return skip_space(text, position + 1)


def _next(text: bytes, position: int, closing: bytes) -> int:
    """The position of the next entry, or of the closing bracket."""
    position = skip_space(text, position)
    mark = text[position : position + 1]
    if mark == closing:
        return position
    if mark != b",":
        raise NotBalanced(f"neither a comma nor {closing.decode()}")
    position = skip_space(text, position + 1)
    if text[position : position + 1] == closing:
        raise NotBalanced("a comma with nothing after it")
    return position
