"""A fault of the embedded provider, the plan that a client orders, and the exchange it changes."""

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
"""`times` of a fault that does not go away."""


class Ending(StrEnum):
    """How a client may end that has met a fault."""

    RIGHT = "right"
    """Everything is as the provider has it."""
    INCOMPLETE = "incomplete"
    """What was listed is applied, nobody is deleted, and the certificate says why."""
    FAILED = "failed"
    """Nothing is applied and the error says why."""


Endings = frozenset[Ending]

RIGHT = frozenset({Ending.RIGHT})
INCOMPLETE = frozenset({Ending.INCOMPLETE})
FAILED = frozenset({Ending.FAILED})


class Family(StrEnum):
    """What part of an answer a fault spoils."""

    HTTP = "http"
    PAGINATION = "pagination"
    CONTENT = "content"
    AUTH = "auth"
    TIMING = "timing"
    WORLD = "world"
    LIE = "lie"


class Need(StrEnum):
    """What an integration must have for a fault's allowed endings to hold."""

    TOTAL = "total"
    """It reads the provider's own count."""
    GRACE = "grace"
    """It waits for a second extraction before it deletes."""
    CURSOR = "cursor"
    """Each of its pages leads to the next, instead of being counted."""
    SINGLE = "single"
    """It asks for single users before it deletes them."""


class OneAnswer(NamedTuple):
    """An answer about one user."""

    status: int
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault by name, and how a correct client may end after meeting it.

    `fleeting` is allowed where it happens once, `lasting` where it never goes away; None
    means that it does not come in that form. `begin` acts before the page is made, `act` on
    the page or in place of it; they return False when there was nothing to spoil. `single`
    makes another answer of the one about a user, given the id.
    `from_page` is the first page, and `before_last` says that another page must follow.
    `extra` is how many records more than there are people it makes the listing hold.
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
    """One fault to happen from the `at`th request on (1 is the next), `times` times."""

    fault: str
    at: Annotated[int, msgspec.Meta(ge=1)] = 1
    times: Annotated[int, msgspec.Meta(ge=1)] = 1


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one integration's answers will suffer; no orders, nothing."""

    orders: list[Order] = []
    seed: int = 1


class Suffered(msgspec.Struct, frozen=True):
    """What has happened since the plan was made.

    `keys` are the ids of people whom a fault touched: their records, nobody else's, may
    have come out otherwise. `strayed` counts credentials sent under a foreign host name.
    """

    requests: int = 0
    fired: dict[str, int] = {}
    keys: list[str] = []
    strayed: int = 0


@dataclass(slots=True)
class Page:
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
    """One integration's plan and what came of it so far."""

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
    """One request for a page and the answer that is being made of it."""

    directory: Directory
    ref: IntegrationRef
    affliction: Affliction
    query: dict[str, str]
    authorization: str = field(repr=False)
    port: int
    page: Page = field(default_factory=Page)
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": "application/json"})
    spoiled: bytes | None = None
    delivery: Delivery | None = None

    @property
    def chance(self) -> random.Random:
        """The plan's own dice."""
        return self.affliction.chance

    @property
    def body(self) -> bytes:
        """The body as faults have left it."""
        return self.page.encoded() if self.spoiled is None else self.spoiled

    def alias(self, name: str, cursor: str | None) -> str:
        """A cursor of that name, which stands for `cursor` (None is the first page)."""
        self.affliction.aliases[name] = cursor
        return name

    def victim(self) -> int | None:
        """The place of somebody on this page, who from now on counts as touched."""
        if not self.page.records:
            return None
        place = self.chance.randrange(len(self.page.records))
        self.touched(self.page.records[place])
        return place

    def touched(self, record: bytes) -> None:
        """Remember whose record this is."""
        self.affliction.keys.add(str(msgspec.json.decode(record)["id"]))

    def earlier_record(self) -> bytes | None:
        """Somebody's record of a page served before, as it was served."""
        served = [record for page in self.affliction.earlier for record in page]
        return self.chance.choice(served) if served else None
