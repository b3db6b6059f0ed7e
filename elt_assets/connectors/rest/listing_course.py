"""The course of a listing: which page follows, when it ends, and what makes it doubtful.

The decisions are pure: they take the facts of an answer and return the next position and every
doubt. A position becomes a request in `pagination`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import msgspec

from elt_assets.connectors.limits import page_limit_reached

Position = Any
"""A JSON value: a token, an address, a page's number or a record's number."""


class Continuation(StrEnum):
    """What leads from one page to the next."""

    NUMBERED = "numbered"  # the page's number
    COUNTED = "counted"  # the number of the page's first record
    TOKEN = "token"  # noqa: S105
    ADDRESS = "address"
    SINGLE = "single"  # there is one page


class Missing(StrEnum):
    """What an answer has in place of the list."""

    NULL = "null where its list should be"
    NO_CONTENT = "204 No Content"
    NOT_THERE = "404 Not Found"
    REFUSED = "400 Bad Request"


class Refusal(StrEnum):
    """How a provider refused a page."""

    NOT_THERE = "404"
    GONE = "410"
    BAD_REQUEST = "400"
    EXPIRED = "an error that says that the position expired"


class Meaning(StrEnum):
    """What a refused page says about the listing."""

    END = "end"
    POSITION_REFUSED = "position refused"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class Course:
    """The constants of a listing. A list `under_parent` may be null when it is empty.

    `reach` is the number of records to which the provider limits paging, however many it has.
    """

    kind: Continuation
    max_pages: int
    start: int = 0
    under_parent: bool = False
    reach: int | None = None

    @property
    def counts(self) -> bool:
        """Whether positions are numbers, so that removing a record moves others to read pages."""
        return self.kind in (Continuation.NUMBERED, Continuation.COUNTED)

    def fits(self, position: Position) -> bool:
        """Whether a saved position is valid for this kind of continuation."""
        if self.counts:
            return type(position) is int and position > self.start
        return type(position) in (str, int)


class ListingProgress(msgspec.Struct, frozen=True, omit_defaults=True):
    """The progress of a listing: enough to continue from, and small enough for a checkpoint.

    `page` is the number of the page at `at`, which is requested next. `again` is set if the page
    before it gave the token by which it was requested itself. `listed` counts all records before
    this page, `before` those of the page before it, and `mark` is that page's mark. `longest` is
    the length of the longest page so far. `disbelieved` says that a total was too small, so that
    no later total counts. `last` says that the page before is the last one, by its total or by
    its own statement.
    """

    page: int = 1
    at: Position | None = None
    listed: int = 0
    before: int = 0
    longest: int = 0
    mark: str | None = None
    disbelieved: bool = False
    again: bool = False
    last: bool = False


BEGINNING = ListingProgress()


@dataclass(frozen=True, slots=True)
class Facts:
    """What one answer says about the course of its listing.

    `next` is the token or the whole address that the answer gives. `more` is its explicit
    statement whether records follow (`has_more`). `mark` is equal for two pages only if they begin
    and end with the same records; None if that is not known. `missing` is set where the answer has
    no list.
    """

    count: int
    next: str | int | None = None
    total: int | None = None
    more: bool | None = None
    mark: str | None = None
    missing: Missing | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """The consequences of an answer.

    `next` is None where the listing ends. `total` is the provider's count, unless it was too small.
    `cut_short` says why the listing stops here although the provider has more. A `repeated` page
    has no new records, only those of the page before. `listed` counts the records of all pages up
    to this one.
    """

    next: ListingProgress | None
    total: int | None = None
    doubts: tuple[str, ...] = ()
    cut_short: str | None = None
    repeated: bool = False
    listed: int = field(default=0, compare=False)


class ListingCourse:
    """One listing from the beginning or from a checkpoint. Give `take` each answer in order."""

    def __init__(self, course: Course, progress: ListingProgress = BEGINNING) -> None:
        self._course = course
        self.progress = progress
        # Hashes, because a position may be long. The page limit bounds their number.
        self._seen = {_fingerprint(progress.at)}
        self._resumed = progress.page > 1
        self._said: set[str] = set()

    def take(self, facts: Facts) -> Turn:
        """Advance by the answer to the page at `progress`."""
        now, page = self.progress, self.progress.page
        repeats = facts.mark is not None and facts.mark == now.mark
        if repeats and self._is_last_again():
            return Turn(
                None, None if now.disbelieved else facts.total, repeated=True, listed=now.listed
            )
        listed, longest = now.listed + facts.count, max(now.longest, facts.count)
        doubts: list[str] = []
        total = None if now.disbelieved else facts.total
        disbelieved = now.disbelieved
        if total is not None and total < listed:
            doubts.append(
                f"the provider's total {total:,} is smaller than the {listed:,} records listed"
            )
            total, disbelieved = None, True
        reached = total is not None and listed >= total
        cut_short: str | None = None
        at: Position | None = None
        if self._course.counts:
            if repeats:
                cut_short = f"page {page} repeats page {page - 1}; check param in pagination"
            ends = reached and facts.count < longest
            if facts.count and (facts.more or not ends):
                at = self._counted(now.at, facts.count)
        elif self._course.kind is not Continuation.SINGLE:
            if repeats:
                self._say(doubts, f"page {page} repeats page {page - 1}", "repeats")
            at = self._led(facts, listed, total)
            if at is not None and facts.count == 0:
                self._say(doubts, f"page {page} is empty although another page follows", "empty")
        if self._course.reach is not None and listed >= self._course.reach:
            far = f"the provider allows paging through {self._course.reach:,} records at most"
            return Turn(None, total, tuple(doubts), far, listed=listed)
        if at is None:
            if facts.more:
                doubts.append(f"page {page} says that more records follow but gives no next page")
            return Turn(None, total, tuple(doubts), self._unproven(facts), listed=listed)
        cut_short = cut_short or self._circle(at, repeats)
        following = ListingProgress(
            page + 1,
            at,
            listed,
            facts.count,
            longest,
            facts.mark,
            disbelieved,
            _same(at, now.at),
            reached or facts.more is False,
        )
        self.progress, self._resumed = following, False
        return Turn(following, total, tuple(doubts), cut_short, listed=listed)

    def meaning(self, refusal: Refusal) -> Meaning:
        """Decide what the refusal of the page at `progress` means for the listing."""
        now, course = self.progress, self._course
        if now.page == 1:
            return Meaning.FAILURE
        if course.counts:
            if refusal in (Refusal.NOT_THERE, Refusal.GONE) and now.before:
                return Meaning.END
            # This page was requested only to check that the page before is the last one.
            if refusal is Refusal.BAD_REQUEST and now.last:
                return Meaning.END
        elif refusal in (Refusal.GONE, Refusal.EXPIRED):
            return Meaning.POSITION_REFUSED
        elif refusal is Refusal.NOT_THERE and now.before and not self._resumed:
            return Meaning.END
        return Meaning.POSITION_REFUSED if self._resumed else Meaning.FAILURE

    def ahead(self, furthest: ListingProgress, facts: Facts) -> ListingProgress | None:
        """The page after `furthest`, which itself is not fetched yet; None if it is not known.

        `facts` are those of the newest fetched page. Only positions that are numbers can be
        calculated in advance.
        """
        if not self._course.counts or facts.count == 0:
            return None
        listed = furthest.listed + facts.count
        total = None if furthest.disbelieved else facts.total
        if (total is not None and listed >= total) or furthest.page >= self._course.max_pages:
            return None
        at = self._counted(furthest.at, facts.count)
        return ListingProgress(furthest.page + 1, at, listed, facts.count, furthest.longest)

    def _is_last_again(self) -> bool:
        """Whether a page equal to the one before confirms that no page follows that one.

        It does so if the same token was sent twice. It also does so if the page before is the last
        one and the provider answers higher numbers with it. The latter can only be told from page
        3 on: a page 2 equal to page 1 may mean that the provider ignores the number.
        """
        now = self.progress
        return now.again or (self._course.counts and now.last and now.page > 2)

    def _counted(self, at: Position | None, count: int) -> int:
        step = 1 if self._course.kind is Continuation.NUMBERED else count
        return (self._course.start if at is None else int(at)) + step

    def _led(self, facts: Facts, listed: int, total: int | None) -> Position | None:
        """The position that the answer gives, or None if the answer shows that it is the last."""
        at, known_to_follow = facts.next, total is not None and listed < total
        if at is None or (facts.more is False and not known_to_follow):
            return None
        if _same(at, self.progress.at):
            reached = total is not None and listed >= total
            if reached or (facts.count == 0 and self._course.kind is Continuation.TOKEN):
                return None
        return at

    def _circle(self, at: Position, repeats: bool) -> str | None:
        page, place = self.progress.page, _fingerprint(at)
        known = place in self._seen
        self._seen.add(place)
        # A page may give its own token: some providers name the current page with it. That token is
        # requested once more.
        own = (
            self._course.kind is Continuation.TOKEN and _same(at, self.progress.at) and not repeats
        )
        if known and not own:
            return f"page {page} leads back to a page already fetched"
        if page >= self._course.max_pages:
            return page_limit_reached(self._course.max_pages)
        return None

    def _unproven(self, facts: Facts) -> str | None:
        """Why an answer without a list does not prove the end of the listing; None if it does."""
        if facts.missing is None or facts.total == 0:
            return None
        if self.progress.before:
            led = not self._course.counts and facts.missing is Missing.NOT_THERE
            if not led or self.progress.last:
                return None
            page = self.progress.page
            return f"page {page - 1} leads to page {page}, which has {facts.missing.value}"
        if self.progress.page == 1 and self._course.under_parent:
            return None
        return f"page {self.progress.page} has {facts.missing.value} and follows no page of records"

    def _say(self, doubts: list[str], doubt: str, once: str) -> None:
        """Add a doubt that may apply to every page, only the first time."""
        if once not in self._said:
            self._said.add(once)
            doubts.append(doubt)


def _same(one: Position | None, other: Position | None) -> bool:
    """Whether two positions are equal; a number equals its text, as providers may return it."""
    return one is other or (one is not None and other is not None and str(one) == str(other))


def _fingerprint(position: Position | None) -> bytes:
    written = b"" if position is None else b"." + str(position).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(written, digest_size=8).digest()
