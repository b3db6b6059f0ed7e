"""Marks in the numbered changes of an Active Directory domain controller.

Each controller numbers its own changes, and one that was restored from a backup gets another
identity for its numbers. A mark therefore names the controller, and is not valid at another one.
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
    """The number of a controller's newest change, and the controller's identity."""

    number: int
    controller: str

    def __str__(self) -> str:
        return f"{self.number}@{self.controller}"


def current_mark(session: LdapSession) -> ChangeMark:
    """The mark of this connection's controller now.

    Raises `ProviderRefused` if the server does not number its changes, or hides its identity.
    """
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
            f"the account may not read invocationId of {service}, which identifies the domain "
            "controller; allow it, or remove incremental.by"
        )
    return ChangeMark(int(newest), controller)


def changed_since(mark: str, current: ChangeMark) -> str:
    """A filter for entries that changed after `mark`.

    Raises `MarkRefused` if `mark` is of another controller than `current`, or a later one.
    """
    since = parsed_mark(mark)
    if since.controller != current.controller:
        raise MarkRefused(
            "the domain controller is not the one of the last sync, or it was restored; "
            "everything is listed. Name one controller in connection.host"
        )
    if since.number > current.number:
        raise MarkRefused(
            "the domain controller's newest change has a lower number than the changes already "
            "read from it; everything is listed"
        )
    return f"(uSNChanged>={since.number + 1})"


def parsed_mark(text: str) -> ChangeMark:
    """Parse a mark. Raises `MarkRefused` for a text that is no mark."""
    found = _MARK.fullmatch(text)
    if found is None:
        raise MarkRefused("the stored mark of the last sync is not one of a domain controller")
    return ChangeMark(int(found["number"]), found["controller"])
