"""A fault of the embedded provider, the plan of a client, and the exchange that a fault changes."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, NamedTuple

import msgspec

from elt_assets.demo.wire import Wire
from elt_assets.demo.world import Directory
from elt_assets.identifiers import IntegrationRef

ALWAYS = 1_000_000
"""`times` of a permanent fault."""


class Ending(StrEnum):
    """How a sync may end after a fault."""

    RIGHT = "right"
    """The result equals the provider's data."""
    INCOMPLETE = "incomplete"
    """The listed records are applied, nothing is deleted, and the certificate has the reason."""
    FAILED = "failed"
    """Nothing is applied, and the error has the reason."""


Endings = frozenset[Ending]

RIGHT = frozenset({Ending.RIGHT})
INCOMPLETE = frozenset({Ending.INCOMPLETE})
FAILED = frozenset({Ending.FAILED})


class Family(StrEnum):
    """The part of an answer that a fault changes."""

    HTTP = "http"
    PAGINATION = "pagination"
    CONTENT = "content"
    AUTH = "auth"
    TIMING = "timing"
    WORLD = "world"
    LIE = "lie"


class Need(StrEnum):
    """What an integration needs for a fault's allowed endings to hold."""

    TOTAL = "total"
    """It reads the provider's total."""
    GRACE = "grace"
    """It waits for a second extraction before deletes."""
    CURSOR = "cursor"
    """Its pages have cursors instead of numbers."""
    SINGLE = "single"
    """It probes single users before deletes."""


class OneAnswer(NamedTuple):
    """The answer to a request for one user."""

    status: int
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault by name, and how a correct sync may end after it.

    `fleeting` are the allowed endings if it happens once, `lasting` if it is permanent; None means
    that it has no such form. `begin` acts before the page is made, `act` on the page or in place of
    it; they return False if there was nothing to change. `single` changes the answer for one user,
    given the id. `from_page` is the first affected page, `before_last` requires another page after
    it. `extra` is the number of records that it adds to the listing.
    """

    name: str
    family: Family
    fleeting: Endings | None = None
    lasting: Endings | None = None
    begin: Callable[[Exchange], object] | None = None
    act: Callable[[Exchange], object] | None = None
    single: Callable[[str, OneAnswer], OneAnswer] | None = None
    needs: frozenset[Need] = frozenset()
    from_page: int = 1
    before_last: bool = False
    answers: int = 1
    extra: int = 0


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A fault from the `at`th request on (1 is the next), `times` times."""

    fault: str
    at: Annotated[int, msgspec.Meta(ge=1)] = 1
    times: Annotated[int, msgspec.Meta(ge=1)] = 1


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The faults of one integration's answers."""

    orders: list[Order] = []
    seed: int = 1


class Suffered(msgspec.Struct, frozen=True):
    """What the plan has done so far.

    `keys` are the ids of the people whom a fault touched: only their records may differ.
    `strayed` counts credentials sent under a foreign host name.
    """

    requests: int = 0
    fired: dict[str, int] = {}
    keys: list[str] = []
    strayed: int = 0


@dataclass(slots=True)
class EditablePage:
    """A page that faults may edit; `next_raw` and `total_raw`, if set, are sent verbatim."""

    records: list[bytes] = field(default_factory=list)
    next: str | None = None
    total: int | None = 0
    next_raw: bytes | None = None
    total_raw: bytes | None = None

    def encoded(self) -> bytes:
        """The page as JSON."""
        following = msgspec.json.encode(self.next) if self.next_raw is None else self.next_raw
        total = msgspec.json.encode(self.total) if self.total_raw is None else self.total_raw
        items = b"[" + b",".join(self.records) + b"]"
        return b'{"data":{"items":%b,"next":%b,"total":%b}}' % (items, following, total)


@dataclass(slots=True)
class Affliction:
    """One integration's plan and its state."""

    plan: Plan
    chance: random.Random
    requests: int = 0
    fired: Counter[str] = field(default_factory=Counter)
    keys: set[str] = field(default_factory=set)
    strayed: int = 0
    aliases: dict[str, str | None] = field(default_factory=dict)
    earlier: list[list[bytes]] = field(default_factory=list)
    hidden: bytes | None = None


Delivery = Callable[[Wire], Awaitable[None]]


@dataclass(slots=True)
class Exchange:
    """One request for a page, and its answer."""

    directory: Directory
    ref: IntegrationRef
    affliction: Affliction
    query: dict[str, str]
    authorization: str = field(repr=False)
    port: int
    page: EditablePage = field(default_factory=EditablePage)
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": "application/json"})
    spoiled: bytes | None = None
    delivery: Delivery | None = None

    @property
    def chance(self) -> random.Random:
        """The random numbers of the plan."""
        return self.affliction.chance

    @property
    def body(self) -> bytes:
        """The body after the faults."""
        return self.page.encoded() if self.spoiled is None else self.spoiled

    def alias(self, name: str, cursor: str | None) -> str:
        """Make `name` an alias of `cursor`; None is the first page."""
        self.affliction.aliases[name] = cursor
        return name

    def victim(self) -> int | None:
        """The place of a random record of this page, which then counts as touched."""
        if not self.page.records:
            return None
        place = self.chance.randrange(len(self.page.records))
        self.touched(self.page.records[place])
        return place

    def touched(self, record: bytes) -> None:
        """Record that a fault touched this record."""
        self.affliction.keys.add(str(msgspec.json.decode(record)["id"]))

    def earlier_record(self) -> bytes | None:
        """A random record of an earlier page, as it was served."""
        served = [record for page in self.affliction.earlier for record in page]
        return self.chance.choice(served) if served else None
