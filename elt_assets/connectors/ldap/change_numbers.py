"""Places in the history of an Active Directory domain controller, which numbers its changes.

Each controller numbers on its own, and one that was restored from a backup begins to count under
another identity. A mark therefore names the controller, and means nothing at another one.
Source: Microsoft, "Polling for Changes Using uSNChanged", and [MS-ADTS] 3.1.1.1.9, read in
November 2026.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from elt_assets.connectors.ldap.codec import Search
from elt_assets.connectors.ldap.entry_records import key_of, values_of, written
from elt_assets.connectors.ldap.session import LdapSession
from elt_assets.errors import MarkRefused, ProviderRefused

_MARK = re.compile(r"(?P<number>\d{1,20})@(?P<controller>[0-9a-f-]{36})", re.ASCII)
_ANYTHING = "(objectClass=*)"


@dataclass(frozen=True, slots=True)
class ChangeMark:
    """The number of a controller's newest change, and the identity under which it counts."""

    number: int
    controller: str

    def __str__(self) -> str:
        return f"{self.number}@{self.controller}"


def current_mark(session: LdapSession) -> ChangeMark:
    """Where the controller of this connection stands. Raises `ProviderRefused`."""
    (root,) = session.search(
        Search("", "base", _ANYTHING, ("dsServiceName", "highestCommittedUSN"))
    ).entries or (None,)
    newest = None if root is None else key_of(root, "highestCommittedUSN")
    service = None if root is None else key_of(root, "dsServiceName")
    if newest is None or not newest.isdecimal() or service is None:
        raise ProviderRefused(
            "the server does not number its changes (no highestCommittedUSN); remove "
            "incremental.by, or connect a domain controller of Active Directory"
        )
    found = session.lookup(Search(service, "base", _ANYTHING, ("invocationId",)))
    identities = [] if found is None else found.entries
    controller = next(
        (
            written("objectguid", value)
            for one in identities
            for value in values_of(one, "invocationId")
            if len(value) == 16
        ),
        None,
    )
    if controller is None:
        raise ProviderRefused(
            f"the account may not read invocationId of {service}, which tells domain controllers "
            "apart; allow it, or remove incremental.by"
        )
    return ChangeMark(int(newest), controller)


def changed_since(mark: str, current: ChangeMark) -> str:
    """A filter for what was changed after `mark`.

    Raises `MarkRefused` where it is not of the controller that stands at `current`.
    """
    since = parsed_mark(mark)
    if since.controller != current.controller:
        raise MarkRefused(
            "this is another domain controller than that of the last sync, or it was restored; "
            "everything is listed. Name one controller in connection.host"
        )
    if since.number > current.number:
        raise MarkRefused(
            "the domain controller has gone back behind the changes that were read from it; "
            "everything is listed"
        )
    return f"(uSNChanged>={since.number + 1})"


def parsed_mark(text: str) -> ChangeMark:
    """A mark from its text. Raises `MarkRefused` for what is none."""
    found = _MARK.fullmatch(text)
    if found is None:
        raise MarkRefused("what was kept of the last sync is no mark of a domain controller")
    return ChangeMark(int(found["number"]), found["controller"])
