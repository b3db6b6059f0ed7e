"""Convert an entry to a JSON record, with readable values under the names of the configuration.

GUIDs, SIDs and times are written as text. The entries are listed in `ldap_source`.
"""

from __future__ import annotations

import base64
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from elt_assets.connectors.ldap.codec import LdapEntry
from elt_assets.connectors.ldap.ldap_data import COMPUTED, DN, ENABLED

Value = str | bool | list[str] | None

GUIDS = frozenset({"objectguid", "ms-ds-consistencyguid", "schemaidguid", "msexchmailboxguid"})
SIDS = frozenset({"objectsid", "sidhistory"})
_TIMES = frozenset(
    {
        "createtimestamp",
        "modifytimestamp",
        "whencreated",
        "whenchanged",
        "pwdchangedtime",
        "pwdaccountlockedtime",
        "authtimestamp",
    }
)
_FILETIMES = frozenset(
    {
        "accountexpires",
        "badpasswordtime",
        "lastlogoff",
        "lastlogon",
        "lastlogontimestamp",
        "lockouttime",
        "msds-userpasswordexpirytimecomputed",
        "pwdlastset",
    }
)
_LISTS = frozenset({"memberof", "proxyaddresses", "sidhistory", "objectclass"})
_GENERALIZED = re.compile(r"(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(?:[.,](\d{1,6})\d*)?Z", re.ASCII)
_ENABLED_BY = ("userAccountControl", "nsAccountLock", "pwdAccountLockedTime")
_ACCOUNT_DISABLED = 0x2
_LOCKED_FOR_GOOD = b"000001010000Z"
_FILETIME_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)
_NEVER = 2**63 - 1


@dataclass(frozen=True, slots=True)
class EntryShape:
    """The attributes of a record by their names in lower case, and those that are lists."""

    names: Mapping[str, str]
    several: frozenset[str]
    computed: frozenset[str]

    @property
    def attributes(self) -> tuple[str, ...]:
        computing = _ENABLED_BY if ENABLED in self.computed else ()
        return (*self.names.values(), *(one for one in computing if one.lower() not in self.names))

    def record(self, entry: LdapEntry) -> dict[str, Value]:
        """The entry as an object; its names are spelled as in the configuration."""
        found: dict[str, Value] = {}
        for spelled, values in entry.attributes.items():
            lower = spelled.lower()
            name = self.names.get(lower)
            if name is not None and values:
                found[name] = self._value(lower, values)
        if DN in self.computed:
            found[DN] = entry.dn
        if ENABLED in self.computed:
            found[ENABLED] = enabled(entry)
        return found

    def _value(self, lower: str, values: list[bytes]) -> Value:
        texts = sorted(text for value in values if (text := written(lower, value)) is not None)
        if lower in self.several:
            return list(texts)
        return texts[0] if texts else None


def shape(names: Iterable[str], several: Iterable[str]) -> EntryShape:
    """The shape of records in which expressions use `names`, with lists for `several`."""
    names = list(names)
    attributes = {name.lower(): name for name in names if name not in COMPUTED}
    return EntryShape(
        attributes,
        _LISTS | {name.lower() for name in several},
        frozenset(names) & COMPUTED,
    )


def values_of(entry: LdapEntry, attribute: str) -> list[bytes]:
    """The values of an attribute, whose name the server may spell in upper or lower case."""
    lower = attribute.lower()
    return next((found for name, found in entry.attributes.items() if name.lower() == lower), [])


def key_of(entry: LdapEntry, attribute: str) -> str | None:
    """The value of the attribute that identifies an entry, as text; None without one."""
    texts = [written(attribute.lower(), value) for value in values_of(entry, attribute)]
    return min((text for text in texts if text is not None), default=None)


def enabled(entry: LdapEntry) -> bool:
    """Whether the account is enabled. A temporary lock does not count as disabled."""
    for value in values_of(entry, "userAccountControl"):
        if value.lstrip(b"-").isdigit() and int(value) & _ACCOUNT_DISABLED:
            return False
    if any(value.lower() == b"true" for value in values_of(entry, "nsAccountLock")):
        return False
    return _LOCKED_FOR_GOOD not in values_of(entry, "pwdAccountLockedTime")


def written(lower: str, value: bytes) -> str | None:
    """A value as text, depending on its attribute (in lower case); base64 for other bytes."""
    if lower in GUIDS and len(value) == 16:
        return str(uuid.UUID(bytes_le=value))
    if lower in SIDS:
        return _sid(value)
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return base64.b64encode(value).decode()
    if lower in _TIMES:
        return _time(text)
    if lower in _FILETIMES:
        return _filetime(text)
    return text


def read_back(attribute: str, text: str) -> bytes | None:
    """The value for which `written` returned `text`; None if there is no such value."""
    lower = attribute.lower()
    try:
        if lower in GUIDS:
            return uuid.UUID(text).bytes_le
        if lower in SIDS:
            return _sid_bytes(text)
    except ValueError:
        return None
    return text.encode()


def moment(since: str) -> str:
    """A time in ISO 8601 as LDAP's generalized time; fractions of a second are cut off."""
    return datetime.fromisoformat(since).astimezone(UTC).strftime("%Y%m%d%H%M%S") + ".0Z"


def _time(text: str) -> str:
    found = _GENERALIZED.fullmatch(text)
    if found is None:
        return text
    year, month, day, hour, minute, second, fraction = found.groups()
    return f"{year}-{month}-{day}T{hour}:{minute}:{second}" + (f".{fraction}Z" if fraction else "Z")


def _filetime(text: str) -> str | None:
    """A time in tenths of microseconds since 1601 as text; None for 0 and the largest: never."""
    if not text.isdigit() or len(text) > 19:
        return text
    ticks = int(text)
    if ticks in (0, _NEVER):
        return None
    try:
        return (_FILETIME_EPOCH + timedelta(microseconds=ticks // 10)).isoformat()
    except OverflowError:
        return text


def _sid(value: bytes) -> str:
    """A SID as text, S-1-5-21-…

    Its bytes: revision, number of parts, authority (big-endian), parts (little-endian).
    """
    if len(value) < 8 or len(value) != 8 + 4 * value[1]:
        return base64.b64encode(value).decode()
    parts = [int.from_bytes(value[at : at + 4], "little") for at in range(8, len(value), 4)]
    return "-".join(map(str, ("S", value[0], int.from_bytes(value[2:8], "big"), *parts)))


def _sid_bytes(text: str) -> bytes:
    mark, revision, authority, *parts = text.split("-")
    if mark != "S":
        raise ValueError(text)
    try:
        return (
            bytes((int(revision), len(parts)))
            + int(authority).to_bytes(6, "big")
            + b"".join(int(part).to_bytes(4, "little") for part in parts)
        )
    except OverflowError:
        raise ValueError(text) from None
