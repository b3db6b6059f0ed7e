"""The sign-ins of a day, as the API of the embedded provider reports them.

All functions are pure functions of (seed, integration, day); no clock is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from hashlib import blake2b
from random import Random

import msgspec

from elt_assets.demo.layout import DemoLayout
from elt_assets.demo.people import person_id
from elt_assets.errors import NotFound
from elt_assets.identifiers import IntegrationRef

SUCCESS, FAILURE = "success", "failure"

LATE = 2
"""Number of sign-ins of a day that are recorded after midnight."""
CORRECTED = 2
"""Number of sign-ins of a day that are recorded twice, the second time with another result."""

_DAY = timedelta(days=1)
_COUNTRIES = ("SE", "DE", "FR", "US", "JP", "BR")
_APPLICATIONS = ("mail", "wiki", "payroll", "vpn", "source code")
_AGENTS = ("Firefox/128.0", "Chrome/126.0", "Safari/17.5", "okta-verify/9.1")
_STRANGER = 900_000
"""Numbers from here on are not in the directory: sign-ins with an unknown name."""


class SigninClient(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """The client of a sign-in."""

    ip: str
    country: str
    user_agent: str


class Actor(msgspec.Struct, frozen=True, gc=False):
    """The person who signed in."""

    id: str


class Signin(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """One sign-in as the provider sends it."""

    id: str
    recorded_at: datetime
    occurred_at: datetime
    actor: Actor
    result: str
    client: SigninClient
    application: str


@dataclass(frozen=True, slots=True)
class SigninSource:
    """An integration and its number of sign-ins a day."""

    seed: int
    ref: IntegrationRef
    users: int
    signins: int

    @classmethod
    def of(cls, layout: DemoLayout, ref: IntegrationRef) -> SigninSource:
        """The source for `ref` in `layout`. Raises `NotFound`."""
        users = layout.worlds().get(ref)
        if users is None:
            raise NotFound(f"integration {ref} is not served here")
        return cls(layout.seed, ref, users, layout.signins)


def recorded(source: SigninSource, day: date) -> list[Signin]:
    """The sign-ins that the provider recorded on `day`, in order.

    The first few happened at the end of the previous day.
    """
    found = [
        one
        for happened_on in (day - _DAY, day)
        for one in _happened(source, happened_on)
        if one.recorded_at.date() == day
    ]
    return sorted(found, key=lambda one: (one.recorded_at, one.id))


def sign_in(source: SigninSource, day: date, number: int, name: str) -> Signin:
    """Sign-in `number` of a day with the id `name`, recorded when it happened."""
    chance = Random(f"{source.seed}\0{source.ref}\0{day}\0{name}")
    known = source.users and chance.random() > 0.05
    person = chance.randint(1, source.users) if known else _STRANGER + number
    home = _COUNTRIES[person % len(_COUNTRIES)]
    moment = _start(day) + timedelta(seconds=chance.randrange(60, 23 * 3600))
    return Signin(
        id=name,
        recorded_at=moment + timedelta(seconds=1),
        occurred_at=moment,
        actor=Actor(person_id(person)),
        result=FAILURE if chance.random() < 0.125 else SUCCESS,
        client=SigninClient(
            ip=f"198.51.100.{person % 250 + 1}" if chance.random() > 0.1 else "2001:db8::17",
            country=home if chance.random() > 0.05 else chance.choice(_COUNTRIES),
            user_agent=chance.choice(_AGENTS),
        ),
        application=chance.choice(_APPLICATIONS),
    )


def changed(one: Signin, **fields: str | datetime) -> Signin:
    """`one` with these fields replaced."""
    return msgspec.structs.replace(one, **fields)


def _happened(source: SigninSource, day: date) -> Iterator[Signin]:
    # Ids differ between integrations, because an organization and an id identify an event.
    origin = blake2b(str(source.ref).encode(), digest_size=3).hexdigest()
    midnight = _start(day + _DAY)
    for number in range(source.signins):
        one = sign_in(source, day, number, f"evt-{origin}-{day:%Y%m%d}-{number:05d}")
        if number < LATE:
            after = midnight + timedelta(seconds=30 * (number + 1))
            yield changed(one, occurred_at=after - timedelta(minutes=5), recorded_at=after)
        else:
            yield one
            if number < LATE + CORRECTED:
                yield changed(
                    one,
                    recorded_at=one.recorded_at + timedelta(minutes=5),
                    result=SUCCESS if one.result == FAILURE else FAILURE,
                )


def _start(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
