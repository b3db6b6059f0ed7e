"""Who acts: the account of the operating system, and the person on whose behalf it does.

The account cannot be chosen by the one who acts; the person is what a proxy or `--as` says.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_acting_as: ContextVar[str | None] = ContextVar("acting_as", default=None)


def account() -> str:
    """The name of the account that runs this process; its number where it has no name."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def acting_as() -> str | None:
    """The person on whose behalf the account acts, if anybody said so."""
    return _acting_as.get()


def act_as(person: str) -> None:
    """From now on act on this person's behalf."""
    _acting_as.set(person)


@contextmanager
def on_own_behalf() -> Iterator[None]:
    """Until the block ends the account acts for no person but the one that `act_as` names in it."""
    token = _acting_as.set(None)
    try:
        yield
    finally:
        _acting_as.reset(token)
