"""Who acts: the account of the operating system, and the person on whose behalf it acts.

The operating system sets the account; a caller cannot choose it. The person is whom a proxy or
`--as` names.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_acting_as: ContextVar[str | None] = ContextVar("acting_as", default=None)


def account() -> str:
    """The name of the account that runs this process, or its number if it has no name."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def acting_as() -> str | None:
    """The person on whose behalf the account acts; None if no person was named."""
    return _acting_as.get()


def act_as(person: str) -> None:
    """From now on act on this person's behalf."""
    _acting_as.set(person)


@contextmanager
def on_own_behalf() -> Iterator[None]:
    """Within the block the account acts for no person, unless `act_as` names one there."""
    token = _acting_as.set(None)
    try:
        yield
    finally:
        _acting_as.reset(token)
