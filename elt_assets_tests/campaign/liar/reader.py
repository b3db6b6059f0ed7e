"""Reading a model provider to the end with the product's own `Listing`, as over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from elt_assets.connectors.rest.listing_course import (
    BEGINNING,
    Continuation,
    Course,
    Facts,
    ListingCourse,
    ListingProgress,
    Meaning,
    Refusal,
    Turn,
)
from elt_assets.errors import PositionRefused, ProviderRefused, SyncError
from elt_assets.sync.extract.checkpoints import ExtractionState
from elt_assets_tests.campaign.liar.provider import Answer, Paging, Provider

MAX_PAGES = 30
COURSES = {
    Paging.NUMBERS: Course(Continuation.NUMBERED, MAX_PAGES, start=1),
    Paging.OFFSETS: Course(Continuation.COUNTED, MAX_PAGES),
    Paging.CURSORS: Course(Continuation.TOKEN, MAX_PAGES),
}
ListingOf = Callable[[Course, ListingProgress], ListingCourse]


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, and what came."""

    place: int | str | None
    answer: Answer


@dataclass(slots=True)
class Reading:
    """What one listing brought, with everything that its provider said."""

    paging: Paging
    asked: list[Asked] = field(default_factory=list)
    pages: list[list[int]] = field(default_factory=list)
    totals: set[int] = field(default_factory=set)
    doubts: list[str] = field(default_factory=list)
    cut_short: str | None = None
    ended: bool = False
    failed: bool = False
    runs: int = 1

    @property
    def people(self) -> list[int]:
        """Everybody listed, as often as that was."""
        return [one for page in self.pages for one in page]

    def begin_again(self) -> None:
        """Forget everything: what was fetched is not used."""
        self.asked, self.pages, self.totals, self.doubts = [], [], set(), []

    def state(self) -> ExtractionState:
        """The extraction as checkpoints would describe it."""
        return ExtractionState(
            batches=len(self.pages),
            pages=len(self.pages),
            fetched=sum(map(len, self.pages)),
            declared_totals=tuple(sorted(self.totals)),
            cut_short=self.cut_short,
            doubts=tuple(self.doubts),
            run=self.runs,
            landed_by=frozenset(range(1, self.runs + 1)),
            cursor=None if self.ended else "unread",
        )


def read(
    provider: Provider,
    size: int,
    *,
    interrupted_at: int | None = None,
    listing_of: ListingOf = ListingCourse,
    before_page: Callable[[], None] = lambda: None,
) -> Reading:
    """Read a listing; `interrupted_at` that page the reader dies and goes on from its position.

    A position that is refused lets the listing begin again, once, as in the engine.
    """
    course, reading = COURSES[provider.paging], Reading(provider.paging)
    listing = listing_of(course, BEGINNING)
    try:
        for _ in steps(provider, size, listing, reading, before_page):
            progress = listing.progress
            if progress.page == interrupted_at and not reading.ended:
                listing = listing_of(course, progress)
                reading.runs += 1
                break
        if not reading.ended:
            for _ in steps(provider, size, listing, reading, before_page):
                pass
    except PositionRefused:
        reading.begin_again()
        provider.served = []
        try:
            for _ in steps(provider, size, listing_of(course, BEGINNING), reading, before_page):
                pass
        except SyncError:
            reading.failed = True
    except ProviderRefused:
        reading.failed = True
    return reading


def steps(
    provider: Provider,
    size: int,
    listing: ListingCourse,
    reading: Reading,
    before_page: Callable[[], None],
) -> Iterator[tuple[list[int], Answer, Turn]]:
    """Each page's people, the answer that they come from and what follows from it.

    Raises `PositionRefused` or `ProviderRefused`.
    """
    while True:
        before_page()
        place = _place(provider, listing.progress.at, size)
        answer = provider.page(place, size)
        reading.asked.append(Asked(place, answer))
        people = answer.people
        if answer.refused:
            turn = _refused(listing)
        else:
            mark = f"{people[0]} {people[-1]} {len(people)}" if people else None
            turn = listing.take(Facts(len(people), answer.following, answer.total, mark=mark))
        people = [] if turn.repeated else people
        reading.pages.append(people)
        if turn.total is not None:
            reading.totals.add(turn.total)
        reading.doubts += [doubt for doubt in turn.doubts if doubt not in reading.doubts]
        reading.cut_short = turn.cut_short
        reading.ended = turn.next is None or turn.cut_short is not None
        yield people, answer, turn
        if reading.ended:
            return


def _refused(listing: ListingCourse) -> Turn:
    match listing.meaning(Refusal.GONE):
        case Meaning.END:
            return Turn(None)
        case Meaning.POSITION_REFUSED:
            raise PositionRefused("the provider no longer takes the position")
    raise ProviderRefused("the provider answers 410")


def _place(provider: Provider, at: int | str | None, size: int) -> int | str | None:
    """What is asked for; a page's number as the offset that it means to the provider."""
    match provider.paging:
        case Paging.NUMBERS:
            number = 1 if at is None else int(at)
            return (number - 1) * min(size, provider.page_cap or size)
        case Paging.OFFSETS:
            return 0 if at is None else at
    return at
