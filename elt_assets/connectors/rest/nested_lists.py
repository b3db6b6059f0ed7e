"""Lists under the records of another stream, such as the members of every group.

The module reads the list of each parent, continues from any position, and decides what an
unreadable list means for completeness. The engine joins records to their parents by `Page.parents`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import msgspec

from elt_assets.config.secret_refs import Secrets
from elt_assets.connectors.http.http_client import NotThere
from elt_assets.connectors.json.json_limits import decode
from elt_assets.connectors.json.record_list import empty_page
from elt_assets.connectors.limits import FetchLimits, page_limit_reached
from elt_assets.connectors.mapping.evaluate import text_at
from elt_assets.connectors.mapping.expression_parser import parse
from elt_assets.connectors.probing.member_probes import ListedMembers, probe_memberships
from elt_assets.connectors.rest.configuration.stream_parts import ParentStream
from elt_assets.connectors.rest.named_parents import NamedParents
from elt_assets.connectors.rest.pages.page_prefetch import Lookahead
from elt_assets.connectors.rest.pagination import PageAnswer
from elt_assets.connectors.rest.provider_data import RestData
from elt_assets.connectors.rest.rest_source import RestSource
from elt_assets.connectors.source import Cursor, ListsOnly, Page, Presence
from elt_assets.errors import PageUnreadable, PermanentError, ProviderUnavailable
from elt_assets.identifiers import IntegrationRef

_LONGEST_REASON = 300
_MOST_PATHS = 100_000
"""Most parents whose path step is kept in memory, where the step is not the parent's key."""


@dataclass(frozen=True, slots=True)
class Parent:
    """One record that has a list: its key, and its step in the path of the list."""

    key: str
    in_path: str


class NestedPosition(msgspec.Struct, frozen=True):
    """The position of an extraction, small enough for a checkpoint.

    `parents` is the cursor of a page of parents. The lists of its first `done` parents are read.
    `at` is a cursor in the list of the next parent, and `seen` counts the records read from that
    list. `known` is the digest of these parents. `page` numbers the pages, `listed` counts the
    parents of earlier pages, and `short` is the first reason why the listing is incomplete.
    """

    page: int = 1
    parents: Any = None
    done: int = 0
    at: Any = None
    seen: int = 0
    known: str = ""
    listed: int = 0
    short: str | None = None

    def cut(self, reason: str) -> NestedPosition:
        """The same position with a reason why the listing is incomplete; the first reason stays."""
        short = self.short or reason[:_LONGEST_REASON]
        return msgspec.structs.replace(self, short=short)

    def on_page(self, parents: Cursor | None, listed: int) -> NestedPosition:
        """The position at the beginning of the page `parents`."""
        return NestedPosition(self.page, parents, listed=listed, short=self.short)


class NestedSource(ListsOnly):
    """A stream whose records are listed under those of another. A cursor is a `NestedPosition`.

    If a page of parents has changed when an extraction continues, the lists of all its parents are
    read again. Otherwise a skipped member would be taken for gone; records that come twice count
    once.
    """

    resumable = True
    """A position is enough to continue from."""
    waits_for_provider = True

    def __init__(
        self,
        config: RestData,
        stream: str,
        parent: ParentStream,
        *,
        ref: IntegrationRef | None = None,
        secrets: Secrets,
        limits: FetchLimits,
    ) -> None:
        self._parents: RestSource | NamedParents
        if parent.among is None:
            lender = RestSource(config, parent.stream, ref=ref, secrets=secrets, limits=limits)
            self._parents = lender
            self._children = RestSource(
                config, stream, ref=ref, secrets=secrets, limits=limits, beside=lender
            )
        else:
            self._children = RestSource(config, stream, ref=ref, secrets=secrets, limits=limits)
            self._parents = NamedParents(parent.among, self._children)
        self.records = self._children.records
        self.fields = self._children.fields
        self._max_pages = limits.max_pages
        self._key = self._parents.fields["external_id"]
        self._in_path = self._key if parent.in_path is None else parse(parent.in_path)
        self._paths: dict[str, str] | None = None if parent.in_path is None else {}
        self._again: Iterator[Page] | None = None
        self._ahead: Lookahead[PageAnswer] | None = None

    @property
    def snapshot(self) -> bool:
        """Whether the parents and their lists are both snapshots."""
        return self._parents.snapshot and self._children.snapshot

    @property
    def requests(self) -> int:
        """Requests sent for parents and lists, which share a client."""
        return self._parents.requests

    def pages(self, cursor: Cursor | None, since: str | None = None) -> Iterator[Page]:
        """Yield pages after `cursor` (from the first when None) up to the last one.

        The last page has no records; its `cut_short` says whether the whole listing is complete.
        """
        place = _resumed(cursor)
        total: int | None = None
        for page in self._parents.pages(place.parents):
            parents = self._read(page)
            if len(parents) < page.count:
                nameless = page.count - len(parents)
                place = place.cut(f"{nameless} records that have lists have no readable key")
            for reason in (*page.doubts, *filter(None, [page.cut_short])):
                place = place.cut(reason)
            total = page.total if page.total is not None else total
            listed = place.listed + page.count
            if place.known != _known(parents, place):
                place = place.on_page(place.parents, place.listed)
            for child, after in self._lists(parents, place):
                place = after
                if place.done == len(parents) and page.next is not None:
                    place = place.on_page(page.next, listed)
                too_many = place.page > self._max_pages
                yield replace(
                    child,
                    next=msgspec.to_builtins(place),
                    cut_short=page_limit_reached(self._max_pages) if too_many else None,
                )
                if too_many:
                    return
            place = place.on_page(page.next, listed)
        if total is not None and total != place.listed:
            place = place.cut(f"the provider counts {total} parents and listed {place.listed}")
        yield Page(empty_page(self.records), 0, next=None, cut_short=place.short)

    @property
    def probes(self) -> bool:
        """Whether a list read again shows members' keys, so that missing members can be probed."""
        return "member_external_id" in self.fields

    def probe(self, missing: Sequence[str], listed: Sequence[str]) -> Mapping[str, Presence]:
        """Read the list of each affected parent again, once."""
        return probe_memberships(missing, listed, self._members, self._parents.client)

    def otherwise(self) -> None:
        """From now on list parents and their lists with another page size."""
        self._parents.otherwise()
        self._children.otherwise()

    def close(self) -> None:
        """End requests that are under way and close connections."""
        if self._ahead is not None:
            self._ahead.stopped.set()
        self._children.close()
        self._parents.close()
        if self._ahead is not None:
            self._ahead.close()

    def _lists(
        self, parents: list[Parent], place: NestedPosition
    ) -> Iterator[tuple[Page, NestedPosition]]:
        """The pages of the lists of `parents` from `place` on, each with the position after it.

        The first list is requested alone, so that a caller that reads one page causes one request.
        After that, the first pages of several lists are requested at once.
        """
        lists = [self._children.under(parent.key, parent.in_path) for parent in parents]
        begin = place.done
        asked = begin + 1
        self._ahead = Lookahead(self._children.concurrency)
        with closing(self._ahead) as ahead:
            for index in range(begin, len(parents)):
                while index > begin and asked < len(lists) and ahead.wants_more:
                    ahead.ask(asked, partial(lists[asked].first, ahead.stopped))
                    asked += 1
                pages = lists[index].pages(place.at, first=ahead.take if index > begin else None)
                done = msgspec.structs.replace(
                    place, done=index + 1, at=None, seen=0, known=_digest(parents[: index + 1])
                )
                try:
                    for page in pages:
                        ahead.weigh(len(page.body))
                        place = _after(page, parents[index], place, done)
                        key = parents[index].key
                        # The total of one list says nothing about the whole stream.
                        yield (
                            replace(page, total=None, wanted=None, parents=((key, page.count),)),
                            place,
                        )
                except NotThere as error:
                    self._make_sure_it_is_gone(parents[index], place.parents, error)
                place = msgspec.structs.replace(done, page=place.page, short=place.short)

    def _make_sure_it_is_gone(self, parent: Parent, page: Cursor | None, error: NotThere) -> None:
        """Raise `ProviderUnavailable` if a parent without its list is itself still listed."""
        again = next(self._parents.pages(page))
        if parent in self._read(again):
            raise ProviderUnavailable(
                f"{error}, but its parent is still listed: the path is wrong, or the parent is "
                "being deleted right now"
            ) from None

    def _read(self, page: Page) -> list[Parent]:
        """The parents of a page whose key and path step can be read."""
        records = _records(page, self._parents.records)
        found = ((text_at(self._key, record), text_at(self._in_path, record)) for record in records)
        return [Parent(key, path) for key, path in found if key and path and _usable(path)]

    def _path(self, parent: str) -> str | None:
        """The path step of a parent; None if the parent is not listed any more."""
        if self._paths is None:
            return parent
        if self._again is None:
            self._again = self._parents.pages(None)
        while parent not in self._paths:
            page = next(self._again, None)
            if page is None:
                return None
            found = {listed.key: listed.in_path for listed in self._read(page)}
            if len(self._paths) + len(found) <= _MOST_PATHS:
                self._paths |= found
        return self._paths[parent]

    def _members(self, parent: str) -> ListedMembers | None:
        """A parent's list, read again with another page size; None if its path is not known."""
        try:
            in_path = self._path(parent)
        except NotThere:
            return None
        if not in_path or not _usable(in_path):
            return None
        member = self._children.fields["member_external_id"]
        keys: set[str] = set()
        count, whole = 0, True
        again = self._children.under(parent, in_path)
        again.otherwise()
        for page in again.pages(None):
            found = [text_at(member, record) for record in _records(page, self.records)]
            keys.update(key for key in found if key)
            count += len(found)
            total = count if page.total is None or page.next is not None else page.total
            sound = page.cut_short is None and not page.doubts and page.count == len(found)
            whole = whole and sound and len(keys) == count == total
        return ListedMembers(frozenset(keys), whole)


def _records(page: Page, path: tuple[str, ...]) -> Iterator[Any]:
    """Decode one record after the other: as objects, all of them take many times the page."""
    place: bytes | msgspec.Raw = page.body
    for key in path:
        place = msgspec.json.decode(place, type=dict[str, msgspec.Raw]).get(key, b"null")
    for record in msgspec.json.decode(place, type=list[msgspec.Raw] | None) or ():
        try:
            yield decode(record)
        except msgspec.DecodeError:
            raise PageUnreadable("a record that has a list is too large to be read") from None


def _after(
    page: Page, parent: Parent, place: NestedPosition, done: NestedPosition
) -> NestedPosition:
    """The position after a page of a parent's list; `done` is the one after its last page."""
    seen, shown = place.seen + page.count, parent.key[:64]
    done = msgspec.structs.replace(done, page=place.page + 1, short=place.short)
    if page.cut_short is not None:
        return done.cut(f"{page.cut_short} (under {shown!r})")
    if page.next is not None:
        return msgspec.structs.replace(
            place, page=place.page + 1, at=page.next, seen=seen, known=done.known
        )
    if page.total is not None and page.total != seen:
        return done.cut(f"the provider counts {page.total} records under {shown!r}, not {seen}")
    return done


def _resumed(cursor: Cursor | None) -> NestedPosition:
    if cursor is None:
        return NestedPosition()
    try:
        return msgspec.convert(cursor, NestedPosition)
    except msgspec.ValidationError:
        raise PermanentError(
            "the saved position is not one of a nested list; start a new sync"
        ) from None


def _known(parents: list[Parent], place: NestedPosition) -> str:
    """The digest, by `parents` as they are now, of the parents that `place` has begun to read."""
    return _digest(parents[: place.done + (place.at is not None)])


def _digest(parents: list[Parent]) -> str:
    if not parents:
        return ""
    keys = msgspec.json.encode([parent.key for parent in parents])
    return hashlib.blake2b(keys, digest_size=8).hexdigest()


def _usable(step: str) -> bool:
    """Whether a text can be a step of a path: `.` and `..` would change the path."""
    return step not in (".", "..") and "\0" not in step
