"""The course of a listing: which page follows, when it ends, and what makes it doubtful.

The decisions are pure: they take the facts of an answer and return the next position and every
doubt. How a position is sent is in `pagination`.
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
    """What came instead of a list."""

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
    """What is fixed for a listing. Lists under a parent may be null when they are empty.

    `reach` is how many records the provider lets be paged through, however many there are.
    """

    kind: Continuation
    max_pages: int
    start: int = 0
    under_parent: bool = False
    reach: int | None = None

    @property
    def counts(self) -> bool:
        """Whether a record that leaves moves others to a page that was read before."""
        return self.kind in (Continuation.NUMBERED, Continuation.COUNTED)

    def fits(self, position: Position) -> bool:
        """Whether a saved position is one of this kind."""
        if self.counts:
            return type(position) is int and position > self.start
        return type(position) in (str, int)


class ListingProgress(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a listing stands: enough to go on from, and small enough for a checkpoint.

    `page` numbers the page at `at`, which is requested next (`again` when the page before gave
    the same token). `listed` records came before it, `before` of them on the page before, whose
    `mark` is kept; `longest` is the longest page so far. `disbelieved` totals stay so. `last`
    says that by its total or its words the page before is the last one.
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

    `next` is the token or the whole address that it gives, `more` whether it says in so many
    words that records follow. `mark` is equal for two pages only if they begin and end with the
    same records; None if that is not known. `missing` is set where there was no list.
    """

    count: int
    next: str | int | None = None
    total: int | None = None
    more: bool | None = None
    mark: str | None = None
    missing: Missing | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """What follows from an answer.

    `next` is None where the listing ended. `total` is the provider's count, if it is believed.
    `cut_short` says why the listing stops here although the provider goes on. A `repeated`
    page brought nothing: its records are those of the page before. `listed` counts the records of
    all pages up to this one.
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
        # Hashes, not positions: one may be long, and the page limit bounds their number.
        self._seen = {_fingerprint(progress.at)}
        self._resumed = progress.page > 1
        self._said: set[str] = set()

    def take(self, facts: Facts) -> Turn:
        """Go on by an answer to the page at `progress`."""
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
                cut_short = f"page {page} repeats page {page - 1}; is its number asked for rightly?"
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
            far = f"the provider lets {self._course.reach:,} records be paged through at most"
            return Turn(None, total, tuple(doubts), far, listed=listed)
        if at is None:
            if facts.more:
                doubts.append(f"page {page} says that more records follow and leads to none")
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
        """What it means that the page at `progress` is refused."""
        now, course = self.progress, self._course
        if now.page == 1:
            return Meaning.FAILURE
        if course.counts:
            if refusal in (Refusal.NOT_THERE, Refusal.GONE) and now.before:
                return Meaning.END
            # A page that is requested only to refute that the one before is the last.
            if refusal is Refusal.BAD_REQUEST and now.last:
                return Meaning.END
        elif refusal in (Refusal.GONE, Refusal.EXPIRED):
            return Meaning.POSITION_REFUSED
        elif refusal is Refusal.NOT_THERE and now.before and not self._resumed:
            return Meaning.END
        return Meaning.POSITION_REFUSED if self._resumed else Meaning.FAILURE

    def ahead(self, furthest: ListingProgress, facts: Facts) -> ListingProgress | None:
        """The page after `furthest`, as far as it is known before that page is fetched.

        `facts` are those of the newest page. Only counted pages are known beforehand.
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
        """Whether a page that is the same as the one before says that nothing follows that one.

        The same token was sent twice; or the page before is the last and numbers beyond it are
        taken for its own, which only a page that differed from the first shows.
        """
        now = self.progress
        return now.again or (self._course.counts and now.last and now.page > 2)

    def _counted(self, at: Position | None, count: int) -> int:
        step = 1 if self._course.kind is Continuation.NUMBERED else count
        return (self._course.start if at is None else int(at)) + step

    def _led(self, facts: Facts, listed: int, total: int | None) -> Position | None:
        """Where the answer leads, unless it says by other means that it is the last."""
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
        # The page's own token is requested once more: some providers name the current page with it.
        own = (
            self._course.kind is Continuation.TOKEN and _same(at, self.progress.at) and not repeats
        )
        if known and not own:
            return f"page {page} leads back to a page already fetched"
        if page >= self._course.max_pages:
            return page_limit_reached(self._course.max_pages)
        return None

    def _unproven(self, facts: Facts) -> str | None:
        """Why an end without a list is not one."""
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
        """Add a doubt of a kind that could be said of every page."""
        if once not in self._said:
            self._said.add(once)
            doubts.append(doubt)


def _same(one: Position | None, other: Position | None) -> bool:
    """Whether two positions are one: a number may come back as a text."""
    return one is other or (one is not None and other is not None and str(one) == str(other))


def _fingerprint(position: Position | None) -> bytes:
    written = b"" if position is None else b"." + str(position).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(written, digest_size=8).digest()
