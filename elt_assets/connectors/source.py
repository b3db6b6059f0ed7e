"""The interface between the engine and every kind of source: what a source is and yields.

A source yields pages and does not know what happens to them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

from elt_assets.connectors.mapping.expressions import Expression

Cursor = Any
"""A JSON value that tells a source where to continue; small, and enough on its own."""


FieldMap = dict[str, Expression]
"""Field name to expression. Names that are not columns of the stream become attributes."""


@dataclass(frozen=True, slots=True)
class KnownPage:
    """A page that was read before, with what a request for it needs to ask whether it changed.

    `asked` identifies the request; it is a hash, because addresses are not kept. `etag` is the
    provider's ETag of the answer. `digest` identifies the page's content for the engine.
    """

    asked: str
    etag: str
    digest: str
    count: int
    next: Cursor | None
    total: int | None


@dataclass(frozen=True, slots=True)
class Page:
    """One page as the provider sent it.

    `body` is a UTF-8 JSON document whose list of records is at the source's `records`
    path; `count` is the length of that list. `next` continues after this page, and None
    means the provider said this is the last one. `total` is the provider's own count of
    all records, where it declares one. `cut_short` names why the source stopped although
    the provider had more or went in circles; such an extraction is never complete. `doubts`
    are reasons, with numbers, why the listing may be incomplete although it continues.
    `bare_end` says that the page ends the listing because it has something else than a list at
    `records`.
    """

    body: bytes
    count: int
    next: Cursor | None
    total: int | None = None
    cut_short: str | None = None
    doubts: tuple[str, ...] = ()
    bare_end: bool = False
    wanted: int | None = None
    """How many records were requested, where the source knows."""
    parents: tuple[tuple[str, int], ...] = ()
    """The parents of the records, in order: a key and how many records follow it.

    Expressions find the key as `$parent`; the records stay as the provider sent them.
    """
    asked: str | None = None
    """The hash for `KnownPage.asked`, where the provider's answer has an ETag."""
    etag: str | None = None
    known: KnownPage | None = None
    """The earlier page, where the provider says that it is unchanged; `body` is then empty."""
    mark: str | None = None
    """On the last page, where `Incremental.by_mark` is set: changes after it were not listed."""


class Presence(StrEnum):
    """A provider's answer about one record."""

    PRESENT = "present"
    GONE = "gone"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Incremental:
    """How a stream is read whose provider can list what changed.

    `full_every` is how often all records are read nevertheless. `overlap` is how far before the
    newest change already seen the next extraction begins: providers list changes a little late.
    With `by_mark` the next extraction begins at the `Page.mark` of the previous one, not at a time.
    """

    full_every: timedelta
    overlap: timedelta
    by_mark: bool = False


class Source(Protocol):
    """A stream of one integration, readable from the beginning or from any cursor it gave."""

    @property
    def incremental(self) -> Incremental | None:
        """Set where the provider can list what changed since a time or a mark; else None."""

    @property
    def snapshot(self) -> bool:
        """Whether a listing is one consistent state, so that a record that it lacks is gone."""

    @property
    def resumable(self) -> bool:
        """Whether `pages` continues from a cursor; else an interrupted extraction starts again."""

    @property
    def probes(self) -> bool:
        """Whether `probe` can ask the provider."""

    def probe(self, missing: Sequence[str], listed: Sequence[str]) -> Mapping[str, Presence]:
        """Ask the provider for records by key; every key in `missing` gets an answer.

        `listed` are keys that this sync listed: one of them is the control, and if it is not
        answered as present, every answer is UNKNOWN. This sends at most one request for each
        missing key and one for the control. A key of several columns, as that of a membership,
        is a JSON array of texts.
        Raises `ProviderUnavailable` or `ProviderRefused`.
        """

    @property
    def requests(self) -> int:
        """Requests sent to the provider so far; 0 for files and databases."""

    @property
    def records(self) -> tuple[str, ...]:
        """Object keys that lead to the list of records in a page; () when the page is the list."""

    @property
    def fields(self) -> FieldMap:
        """How a record's fields are found in it."""

    def pages(self, cursor: Cursor | None, since: str | None = None) -> Iterator[Page]:
        """Yield pages after `cursor` (from the first when None) up to the last one.

        With `since` (a time in ISO 8601 and UTC, or a mark) the pages hold only records changed
        after it. When an extraction continues, it passes the same `since` again.

        Raises `ProviderUnavailable`, `ProviderRefused`, `PageUnreadable`, `SecretMissing`,
        `PositionRefused` or `MarkRefused`; never ends early in silence.
        """

    def close(self) -> None:
        """Close connections."""


@runtime_checkable
class AsksWhetherChanged(Protocol):
    """A source that can ask its provider whether a page is unchanged instead of fetching it.

    Source: conditional requests, RFC 9110, section 13.
    """

    def recall(self, pages: Iterable[KnownPage]) -> None:
        """Have the provider send these pages only if they changed, from now on."""

    def again(self, page: Page) -> Page:
        """Request a page that has `known` in full.

        Raises as `pages` does, and `ProviderUnavailable` if the page has changed since the
        provider said that it had not.
        """


@runtime_checkable
class WaitsForProvider(Protocol):
    """A source that spends its time waiting: for answers of one page each, and for quotas."""

    @property
    def waits_for_provider(self) -> bool:
        """True."""


@runtime_checkable
class Settles(Protocol):
    """A source that may be read while it is still being written, such as a file on its way.

    A second listing confirms the first only some time later.
    """

    @property
    def settles(self) -> bool:
        """True."""


@runtime_checkable
class ListsOtherwise(Protocol):
    """A source that can list with another page size or order, so that a paging fault shows."""

    def otherwise(self) -> None:
        """From now on list with another page size or order where the provider allows it."""


class ListsOnly:
    """The parts shared by sources that only list all records, each time."""

    @property
    def incremental(self) -> Incremental | None:
        """Changes alone cannot be requested."""
        return None

    @property
    def probes(self) -> bool:
        """Single records cannot be requested."""
        return False

    def probe(self, missing: Sequence[str], listed: Sequence[str]) -> Mapping[str, Presence]:
        return dict.fromkeys(missing, Presence.UNKNOWN)

    @property
    def requests(self) -> int:
        return 0
