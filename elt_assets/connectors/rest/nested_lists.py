"""Lists that each record of another stream has: the members of every group.

The module goes through the parents from any position, reads each one's list, and decides what an
unreadable list means for completeness. The engine joins records to their parents, from
`Page.parents`.
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
from elt_assets.connectors.source import Cursor, FieldMap, ListsOnly, Page, Presence
from elt_assets.errors import PageUnreadable, PermanentError, ProviderUnavailable
from elt_assets.identifiers import IntegrationRef

_LONGEST_REASON = 300
_MOST_PATHS = 100_000
"""Parents of which what stands in their lists' addresses is kept, where it is not their key."""


@dataclass(frozen=True, slots=True)
class Parent:
    """One record that has a list: its key, and what stands for it in the list's address."""

    key: str
    in_path: str


class NestedPosition(msgspec.Struct, frozen=True):
    """Where reading stands, small enough for a checkpoint.

    `parents` is the cursor of a page of parents. The lists of `done` of them are read, and
    `at` is a cursor inside the next one's, of which `seen` records came; `known` is the digest
    of those parents. `page` numbers the pages, `listed` counts the parents of earlier pages,
    and `short` is the first reason why all this is not everything.
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
        """The same place with a reason why this is not everything; the first one stays."""
        short = self.short or reason[:_LONGEST_REASON]
        return msgspec.structs.replace(self, short=short)

    def on_page(self, parents: Cursor | None, listed: int) -> NestedPosition:
        """The beginning of a page of parents."""
        return NestedPosition(self.page, parents, listed=listed, short=self.short)


class NestedSource(ListsOnly):
    """A stream whose records are listed under those of another. A cursor is a `Place`.

    If a page of parents is another one when it is read again, the lists of all its parents
    are read again: a member that is skipped would be taken for gone, and records that come
    twice count once.
    """

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
        self._max_pages = limits.max_pages
        self._key = self._parents.fields["external_id"]
        self._in_path = self._key if parent.in_path is None else parse(parent.in_path)
        self._paths: dict[str, str] | None = None if parent.in_path is None else {}
        self._again: Iterator[Page] | None = None
        self._ahead: Lookahead[PageAnswer] | None = None

    @property
    def records(self) -> tuple[str, ...]:
        """Object keys that lead to the list of records in a page."""
        return self._children.records

    @property
    def fields(self) -> FieldMap:
        """How a record's fields are found in it."""
        return self._children.fields

    @property
    def resumable(self) -> bool:
        """A place is enough to go on from."""
        return True

    @property
    def snapshot(self) -> bool:
        """Whether both the parents and their lists are."""
        return self._parents.snapshot and self._children.snapshot

    @property
    def waits_for_provider(self) -> bool:
        """For the answer to each page."""
        return True

    @property
    def requests(self) -> int:
        """Requests sent for parents and lists, which share a client."""
        return self._parents.requests

    def pages(self, cursor: Cursor | None, since: str | None = None) -> Iterator[Page]:
        """Yield pages after `cursor` (from the first when None) up to the last one.

        The last one has no records: it says how the whole reading ended.
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
        """A parent's list can be read again, if its members' keys can be found in it."""
        return "member_external_id" in self.fields

    def probe(self, missing: Sequence[str], listed: Sequence[str]) -> Mapping[str, Presence]:
        """Read the lists of the affected parents again, once each."""
        return probe_memberships(missing, listed, self._members, self._parents.client)

    def otherwise(self) -> None:
        """From now on list parents and their lists with pages of another length."""
        self._parents.otherwise()
        self._children.otherwise()

    def close(self) -> None:
        """End what is under way and give back connections."""
        if self._ahead is not None:
            self._ahead.stopped.set()
        self._children.close()
        self._parents.close()
        if self._ahead is not None:
            self._ahead.close()

    def _lists(
        self, parents: list[Parent], place: NestedPosition
    ) -> Iterator[tuple[Page, NestedPosition]]:
        """The pages of the lists of `parents` from `place` on, each with the place after it.

        The first list is requested alone, so that a caller that reads one page causes one
        request; then the first pages of several lists are requested at once.
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
                        # What one list should hold says nothing about the stream.
                        yield (
                            replace(page, total=None, wanted=None, parents=((key, page.count),)),
                            place,
                        )
                except NotThere as error:
                    self._make_sure_it_is_gone(parents[index], place.parents, error)
                place = msgspec.structs.replace(done, page=place.page, short=place.short)

    def _make_sure_it_is_gone(self, parent: Parent, page: Cursor | None, error: NotThere) -> None:
        """Raise `ProviderUnavailable` if a parent whose list is not there is itself still there."""
        again = next(self._parents.pages(page))
        if parent in self._read(again):
            raise ProviderUnavailable(
                f"{error}, and the one it belongs to is still listed: a path that is not right, "
                "or one that is just being deleted"
            ) from None

    def _read(self, page: Page) -> list[Parent]:
        """The parents of a page, as far as they can be read."""
        records = _records(page, self._parents.records)
        found = ((text_at(self._key, record), text_at(self._in_path, record)) for record in records)
        return [Parent(key, path) for key, path in found if key and path and _usable(path)]

    def _path(self, parent: str) -> str | None:
        """The step of a parent in its list's address; None if the parents do not name it."""
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
        """One parent's list, read again in pages of another length; None without its address."""
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
    """The records one after the other: all of them as objects take many times the page."""
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
    """The place after a page of a parent's list; `done` is that after its last one."""
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
    """The digest of the parents that a place speaks of, as they stand in `parents` now."""
    return _digest(parents[: place.done + (place.at is not None)])


def _digest(parents: list[Parent]) -> str:
    if not parents:
        return ""
    keys = msgspec.json.encode([parent.key for parent in parents])
    return hashlib.blake2b(keys, digest_size=8).hexdigest()


def _usable(step: str) -> bool:
    """Whether a text can be a step of a path: `.` and `..` would lead elsewhere."""
    return step not in (".", "..") and "\0" not in step
