"""Pages, positions and masks of an emulated listing: pure functions of its rows."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from elt_assets.conformance.emulators.description import EmulatedAnswer, Paging, State

_DIGITS = re.compile(r"\D+")


class BadPosition(ValueError):
    """A position that the emulator did not give."""


@dataclass(frozen=True, slots=True)
class Row:
    """One account, one group, or one member of the group with the number `group`.

    Everything about it follows from its number and its state.
    """

    number: int
    state: State
    group: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    """One page: its rows, and the fields and headers that lead to the next page."""

    rows: Sequence[Row]
    fields: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


def filled(value: Any, number: int, url: str) -> Any:
    """A copy of `value` with the placeholders in its texts replaced."""
    match value:
        case Mapping():
            return {key: filled(inner, number, url) for key, inner in value.items()}
        case list() | tuple():
            return [filled(inner, number, url) for inner in value]
        case str() if value.startswith("#") and value[1:].replace("{n}", "1").isdecimal():
            return int(value[1:].replace("{n}", str(number)))
        case str():
            return value.replace("{n}", str(number)).replace("{url}", url)
    return value


def steps(path: str) -> list[str]:
    """The keys of a path; a path that begins with @ is a single key, dots included."""
    return [path] if path.startswith("@") else path.split(".")


def at(record: Any, path: str) -> Any:
    """The value at a path of keys."""
    for step in steps(path):
        record = record.get(step) if isinstance(record, Mapping) else None
    return record


def without(record: Mapping[str, Any], path: str) -> dict[str, Any]:
    """A copy of `record` without the value at `path`."""
    first, _, rest = path.partition(".")
    left = dict(record)
    if not rest:
        left.pop(first, None)
    elif isinstance(left.get(first), Mapping):
        left[first] = without(left[first], rest)
    return left


def page_of(
    paging: Paging, path: str, query: Mapping[str, str], shown: Sequence[Row], url: str
) -> Found | EmulatedAnswer:
    """The page that a query asks for. Raises `BadPosition`."""
    size = paging.default
    if paging.size_param is not None and paging.size_param in query:
        size = int(query[paging.size_param])
        if size > paging.most and paging.too_many is not None:
            return paging.too_many
    size = max(1, min(size, paging.most))
    given = query.get(paging.position)
    begin = _begin(paging, given or None, shown, size)
    if paging.reach is not None and begin + size > paging.reach:
        if paging.beyond is not None:
            return paging.beyond
        shown = shown[: paging.reach]
    rows = shown[begin : begin + size]
    more = begin + size < len(shown)
    fields: dict[str, Any] = {}
    headers: dict[str, str] = {}
    if paging.total is not None:
        capped = paging.total_ends_at_reach and paging.reach is not None
        total = min(len(shown), paging.reach or 0) if capped else len(shown)
        if paging.total.startswith("header "):
            headers[paging.total.removeprefix("header ")] = str(total)
        else:
            fields[paging.total] = total
    if paging.more is not None:
        fields[paging.more] = more
    following = _following(paging, begin, size, rows) if more else None
    kind, _, place = paging.lead.partition(" ")
    if following is None:
        if kind == "body" and paging.last is not None:
            fields[place] = paging.last
    else:
        kept = {**query, paging.position: following}
        address = f"{url}{quote(path)}?{urlencode(kept, safe='$,')}"
        if kind == "link":
            headers["Link"] = f'<{url}{quote(path)}>; rel="self", <{address}>; rel="next"'
        elif kind == "header":
            headers[place] = following
        elif kind == "body":
            fields[place] = following
        elif kind in ("url", "path"):
            fields[place] = address if kind == "url" else address.removeprefix(url)
    return Found(rows, fields, headers)


def _begin(paging: Paging, given: str | None, shown: Sequence[Row], size: int) -> int:
    """Where in `shown` a page begins."""
    if given is None:
        return 0
    try:
        match paging.counts:
            case "page" if paging.lead.startswith(("header", "body")):
                return (int(_plain(given)) - paging.first) * size
            case "page":
                return (int(given) - paging.first) * size
            case "record":
                return int(given) - paging.first
            case "key" if paging.lead == "none":
                after = int(_DIGITS.sub("", given))
                return sum(row.number <= after for row in shown)
        after = int(_plain(given))
    except ValueError:
        raise BadPosition(given) from None
    return sum(row.number <= after for row in shown)


def _following(paging: Paging, begin: int, size: int, rows: Sequence[Row]) -> str:
    """The position of the next page, opaque if the provider's positions are."""
    match paging.counts:
        case "page":
            number = str(begin // size + 1 + paging.first)
            return _opaque(number) if paging.lead.startswith(("header", "body")) else number
        case "record":
            return str(begin + size + paging.first)
    return _opaque(str(rows[-1].number))


def _opaque(position: str) -> str:
    return base64.urlsafe_b64encode(f"position:{position}".encode()).decode()


def _plain(token: str) -> str:
    try:
        return base64.urlsafe_b64decode(token).decode().removeprefix("position:")
    except (binascii.Error, UnicodeDecodeError):
        raise BadPosition(token) from None


def masked(body: dict[str, Any], mask: str | None) -> dict[str, Any]:
    """Return the part of an answer that a mask such as `next,users(id,name/fullName)` chooses."""
    if mask is None:
        return body
    chosen: dict[str, Any] = {}
    for name, inner in _parts(mask):
        if name not in body:
            continue
        value = body[name]
        if inner is None:
            chosen[name] = value
        elif isinstance(value, list):
            chosen[name] = [masked(one, inner) for one in value]
        else:
            found = masked(value, inner)
            chosen[name] = {**chosen.get(name, {}), **found}
    return chosen


def _parts(mask: str) -> list[tuple[str, str | None]]:
    """The members of a mask at its top level, each with the mask inside it."""
    parts: list[str] = []
    depth, begin = 0, 0
    for place, character in enumerate(mask):
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            parts.append(mask[begin:place])
            begin = place + 1
    parts.append(mask[begin:])
    found: list[tuple[str, str | None]] = []
    for part in filter(None, map(str.strip, parts)):
        if part.endswith(")"):
            name, _, inner = part[:-1].partition("(")
            found.append((name, inner))
        else:
            name, slash, inner = part.partition("/")
            found.append((name, inner if slash else None))
    return found
