"""The envelope of a page: the number of its records, the next cursor, the total.

The module reads the envelope without decoding a record. Its errors name keys but never values.
Cursors are followed in `rest.pagination`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec

from elt_assets.connectors.http.error_bodies import complaint
from elt_assets.connectors.json import json_scan
from elt_assets.connectors.json.json_limits import (
    MOST_DAMAGED_MARKS,
    USUAL_LIMITS,
    PageLimits,
    decode,
)
from elt_assets.connectors.json.malformed_records import replace_malformed
from elt_assets.connectors.json.page_words import Keys, kind, text_kind, walk
from elt_assets.connectors.json.record_list import empty_page, with_lone_record
from elt_assets.connectors.mapping.evaluate import equal
from elt_assets.connectors.mapping.expressions import Literal, written
from elt_assets.connectors.rest.listing_course import Missing
from elt_assets.errors import PageUnreadable, ProviderUnavailable

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_ERROR_KEYS = ("error", "errors")
_MORE_KEYS = ("has_more", "hasMore", "has_next", "hasNext", "has_next_page", "hasNextPage")
_YES, _NO = ("true", "t", "yes", "y", "on", "1"), ("false", "f", "no", "n", "off", "0")
_CONTENT_RANGE = re.compile(r"[\w-]+ +(?:\d+-\d+|\*)/(\d+|\*)", re.ASCII)
"""A Content-Range as PostgREST writes it, `users 0-99/1820`; `*` stands for an unknown number."""
_WHOLE_NUMBER = re.compile(r"(-?[0-9]{1,18})(?:\.0*)?", re.ASCII)
_LONGEST_CURSOR = 8192


@dataclass(frozen=True, slots=True)
class Envelope:
    """What a page says about itself; `body` has markers in place of malformed records."""

    body: bytes
    count: int
    cursor: str | int | None
    total: int | None
    mark: str | None = None
    """Equal for two pages only if they begin and end with the same records; None if empty."""
    more: bool | None = None
    """Whether the page states that others follow (`has_more`); None if it does not say."""
    missing: Missing | None = None


@dataclass(frozen=True, slots=True)
class _Shape:
    """The decoder of pages of one shape, and the attributes that lead to each place in them."""

    decoder: msgspec.json.Decoder[Any]
    slots: dict[Keys, tuple[str, ...]]
    more: tuple[Keys, ...]
    errors: tuple[Keys, ...]


@lru_cache(maxsize=256)
def _shape(records: Keys, cursor: Keys | None, total: Keys | None, more: Keys | None) -> _Shape:
    """The shape for these places. Cached: making the type is half of the time to open a source."""
    if not records:
        return _Shape(msgspec.json.Decoder(list[msgspec.Raw] | None), {}, (), ())
    tree: dict[str, Any] = {}
    for keys in filter(None, (records, cursor, total, more)):
        _plant(tree, keys)
    says_more = (more,) if more is not None else _more_places(tree, cursor)
    for keys in says_more:
        _plant(tree, keys)
    # A list next to an error is a partial answer, and an incomplete listing deletes people. The
    # error may be in any object on the path to the list.
    errors = tuple(
        (*above, key)
        for above in (records[:depth] for depth in range(len(records)))
        for key in _ERROR_KEYS
        if key not in _below(tree, above)
    )
    for keys in errors:
        _plant(tree, keys)
    slots = {keys: _attributes(tree, keys) for keys in _leaves(tree)}
    return _Shape(msgspec.json.Decoder(_struct(tree, records)), slots, says_more, errors)


class EnvelopeReader:
    """Reads pages of one shape: where the list is, where the cursor and the total are."""

    def __init__(
        self,
        records: Keys,
        cursor: Keys | None = None,
        total: Keys | None = None,
        *,
        limits: PageLimits = USUAL_LIMITS,
        more: Keys | None = None,
        may_be_absent: bool = False,
        empty_if: tuple[Keys, Literal] | None = None,
        is_record: Callable[[Any], bool] = lambda _: False,
    ) -> None:
        """Describe where pages have their list, cursor and total, and which may lack the list.

        With `may_be_absent`, a page without the list but with a total counts as empty, as in SCIM.
        A page with the value of `empty_if` at its place counts as empty, too. If `is_record` is
        true of an object in the place of the list, it counts as a list of that one record.
        """
        self._limits = limits
        self._empty_if = empty_if
        self._may_be_absent = may_be_absent
        self._is_record = is_record
        self._records = records
        self._cursor = cursor
        self._total = total
        self._shape = _shape(records, cursor, total, more)

    def read(self, body: bytes, what: str) -> Envelope:
        """Read one page, called `what` in errors.

        Raises `PageUnreadable`, or `ProviderUnavailable` when the page stops in the middle.
        """
        body = body.removeprefix(_BYTE_ORDER_MARK)
        if not body or body.isspace():
            raise PageUnreadable(f"{what} is empty")
        self._limits.check_count(body, self._records, what)
        body, page = self._decode(body, what)
        records = self._slot(page, self._records) if self._records else page
        if records is msgspec.UNSET and not self._may_lack_its_list(page, body, what):
            raise self._misshapen(body, what)
        for keys in self._shape.errors:
            found = self._value(page, keys, what)
            if found:
                raise PageUnreadable(
                    f"{what} carries {written(keys)!r} next to its records "
                    f"({kind(found)}{complaint(body)}); the provider did not answer in full"
                )
        missing: Missing | None = None
        if not isinstance(records, list):
            if not self._says_that_it_is_empty(body):
                missing = Missing.NULL
            body, records = empty_page(self._records), []
        self._limits.check_records(body, records, what)
        return Envelope(
            body,
            len(records),
            self._next(page, what),
            self._count(page, what),
            _mark(records) if records else None,
            self._says_more(page, what),
            missing,
        )

    def nothing(self, missing: Missing) -> Envelope:
        """The empty envelope for an answer without a page."""
        return Envelope(empty_page(self._records), 0, None, None, missing=missing)

    def _may_lack_its_list(self, page: Any, body: bytes, what: str) -> bool:
        counted = self._may_be_absent and self._count(page, what) is not None
        return counted or self._says_that_it_is_empty(body)

    def _says_that_it_is_empty(self, body: bytes) -> bool:
        if self._empty_if is None:
            return False
        keys, expected = self._empty_if
        found = decode(body)
        for key in keys:
            if found is None:
                break
            if not isinstance(found, dict) or key not in found:
                return False
            found = found[key]
        return equal(found, expected)

    def _says_more(self, page: Any, what: str) -> bool | None:
        for keys in self._shape.more:
            match self._value(page, keys, what):
                case bool() | 0 | 1 as found:
                    return bool(found)
                case str() as text if (word := text.strip().lower()) in (*_YES, *_NO):
                    return word in _YES
        return None

    def _decode(self, body: bytes, what: str) -> tuple[bytes, Any]:
        try:
            page = self._shape.decoder.decode(body)
            if not body.isascii():
                body.decode("utf-8")
            if not json_scan.has_long_number(body):
                return body, page
        except msgspec.ValidationError:
            wrapped = with_lone_record(body, self._records, self._is_record)
            if wrapped is None:
                raise self._misshapen(body, what) from None
            return wrapped, self._shape.decoder.decode(wrapped)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass
        with suppress(json_scan.NotBalanced):
            self._limits.check_marks(body, self._records, what, MOST_DAMAGED_MARKS)
        saved = replace_malformed(body, self._records)
        if saved is not None:
            try:
                page = self._shape.decoder.decode(saved)
                saved.decode("utf-8")
                return saved, page
            except msgspec.ValidationError:
                raise self._misshapen(saved, what) from None
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                pass
        start = body.lstrip()[:1]
        if start not in (b"{", b"["):
            raise PageUnreadable(f"{what} is not JSON (it is {text_kind(body)})")
        if json_scan.ends_early(body):
            raise ProviderUnavailable(f"{what} stops in the middle of its JSON")
        raise PageUnreadable(f"{what} is not valid JSON")

    def _misshapen(self, body: bytes, what: str) -> PageUnreadable:
        if found := walk(body, self._records, "list"):
            place = f"at {written(self._records)!r}" if self._records else "at its top"
            return PageUnreadable(
                f"{what} has no list {place} (found {found}{complaint(body)}); "
                "fix records in provider_data"
            )
        for keys in filter(None, (self._cursor, self._total)):
            # The value itself may be absent or of any kind, but the path to it must be objects.
            if found := walk(body, keys[:-1], "object"):
                return PageUnreadable(f"{what} cannot have {written(keys)!r} (found {found})")
        return PageUnreadable(f"{what} does not have the shape that provider_data describes")

    def _next(self, page: Any, what: str) -> str | int | None:
        if self._cursor is None:
            return None
        found = self._value(page, self._cursor, what)
        if found is None or found is False or found == "":
            return None
        if isinstance(found, float) and found.is_integer():
            found = int(found)
        if isinstance(found, bool) or not isinstance(found, (str, int)):
            raise PageUnreadable(
                f"{what} has {kind(found)} at {written(self._cursor)!r}, not text or a whole number"
            )
        if isinstance(found, str) and len(found) > _LONGEST_CURSOR:
            raise PageUnreadable(
                f"{what} has a cursor of {len(found):,} characters at "
                f"{written(self._cursor)!r}; at most {_LONGEST_CURSOR:,} are followed"
            )
        return found

    def _count(self, page: Any, what: str) -> int | None:
        if self._total is None:
            return None
        found = self._value(page, self._total, what)
        try:
            return count_of(found)
        except ValueError:
            raise PageUnreadable(
                f"{what} has {kind(found)} at {written(self._total)!r}, not a count"
            ) from None

    def _value(self, page: Any, keys: Keys, what: str) -> Any:
        raw = self._slot(page, keys)
        if raw is None or raw is msgspec.UNSET:
            return None
        try:
            return decode(raw)
        except (msgspec.DecodeError, RecursionError):
            raise PageUnreadable(f"{what} has something unreadable at {written(keys)!r}") from None

    def _slot(self, page: Any, keys: Keys) -> Any:
        for attribute in self._shape.slots[keys]:
            if page is None or page is msgspec.UNSET:
                return msgspec.UNSET
            page = getattr(page, attribute)
        return page


def count_of(found: object) -> int | None:
    """A total as providers write it: a number or a text. None if the total is unknown.

    Raises `ValueError` for a value that is not a count.
    """
    match found:
        case None | "":
            return None
        case bool():
            raise ValueError
        case int():
            return found if found >= 0 else None
        case float() if found.is_integer():
            return count_of(int(found))
        case str() if number := _WHOLE_NUMBER.fullmatch(found.strip()):
            return count_of(int(number[1]))
        case str() if counted := _CONTENT_RANGE.fullmatch(found.strip()):
            return None if counted[1] == "*" else count_of(counted[1])
    raise ValueError


def _plant(tree: dict[str, Any], keys: Keys) -> None:
    for key in keys[:-1]:
        tree = tree.setdefault(key, {})
    tree.setdefault(keys[-1], None)


def _below(tree: dict[str, Any], keys: Keys) -> dict[str, Any]:
    for key in keys:
        tree = tree[key]
    return tree


def _leaves(tree: dict[str, Any], above: Keys = ()) -> list[Keys]:
    found: list[Keys] = []
    for key, below in tree.items():
        found += [(*above, key)] if below is None else _leaves(below, (*above, key))
    return found


def _attributes(tree: dict[str, Any], keys: Keys) -> tuple[str, ...]:
    names = []
    for key in keys:
        names.append(f"f{list(tree).index(key)}")
        tree = tree[key]
    return tuple(names)


def _more_places(tree: dict[str, Any], cursor: Keys | None) -> tuple[Keys, ...]:
    """The usual places of `has_more`, except those that the configuration uses otherwise."""
    above = {(), *(() if cursor is None else (cursor[:-1],))}
    return tuple(
        (*place, key)
        for place in sorted(above)
        for key in _MORE_KEYS
        if key not in _below(tree, place)
    )


def _mark(records: list[msgspec.Raw]) -> str:
    digest = hashlib.blake2b(str(len(records)).encode(), digest_size=8)
    digest.update(bytes(records[0]))
    digest.update(bytes(records[-1]))
    return digest.hexdigest()


def _struct(tree: dict[str, Any], records: Keys) -> type[msgspec.Struct]:
    """A type with exactly the leaves of `tree`; the list of records is one of them."""
    fields: list[Any] = []
    rename = {}
    for position, (key, below) in enumerate(tree.items()):
        name = f"f{position}"
        rename[name] = key
        on_the_way = records[:1] == (key,)
        if below is None and on_the_way:
            listed: Any = list[msgspec.Raw]
            fields.append((name, listed | None | msgspec.UnsetType, msgspec.UNSET))
        elif below is None:
            fields.append((name, msgspec.Raw, None))
        elif on_the_way:
            inner: Any = _struct(below, records[1:])
            fields.append((name, inner | None | msgspec.UnsetType, msgspec.UNSET))
        else:
            fields.append((name, _struct(below, ()) | None, None))
    return msgspec.defstruct("PageShape", fields, rename=rename, kw_only=True)
