"""Range retrieval: read the remaining values of an attribute that Active Directory sends in parts.

Source: [MS-ADTS], section 3.1.1.3.1.3.3, Range Retrieval of Attribute Values.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from elt_assets.connectors.ldap.codec import LdapEntry, Search
from elt_assets.connectors.ldap.session import SearchAnswer
from elt_assets.errors import PageUnreadable

_RANGE = re.compile(r"(?P<name>[^;]+);range=(?P<first>\d{1,10})-(?P<last>\d{1,10}|\*)", re.I)

Lookup = Callable[[Search], SearchAnswer | None]


def completed(entry: LdapEntry, lookup: Lookup, most: int) -> LdapEntry:
    """The entry with all values of each attribute.

    Raises `PageUnreadable` for more than `most` values, and for parts that are not consecutive.
    """
    if not any(";" in name for name in entry.attributes):
        return entry
    whole: dict[str, list[bytes]] = {}
    for spelled, values in entry.attributes.items():
        found = _RANGE.fullmatch(spelled)
        if found is None:
            whole.setdefault(spelled, []).extend(values)
        else:
            whole.setdefault(found["name"], []).extend(
                [*values, *_rest(entry.dn, found, len(values), lookup, most)]
            )
    return replace(entry, attributes=whole)


def _rest(dn: str, found: re.Match[str], count: int, lookup: Lookup, most: int) -> list[bytes]:
    name, values = found["name"], list[bytes]()
    if int(found["first"]) != 0:
        raise PageUnreadable(f"the directory sends {name} of an entry without its beginning")
    while found["last"] != "*":
        after = int(found["last"]) + 1
        if after != count + len(values) or after > most:
            raise PageUnreadable(
                f"the directory sends {name} of an entry in parts that do not fit together"
                if after <= most
                else f"an entry has more than {most:,} values of {name}; leave it out"
            )
        search = Search(dn, "base", "(objectClass=*)", (f"{name};range={after}-*",))
        answer = lookup(search)
        if answer is None or len(answer.entries) != 1 or answer.cut_short is not None:
            raise PageUnreadable(f"the directory does not send the rest of {name} of an entry")
        parts = [
            (part, more)
            for spelled, more in answer.entries[0].attributes.items()
            if (part := _RANGE.fullmatch(spelled)) and part["name"].lower() == name.lower()
        ]
        if len(parts) != 1 or int(parts[0][0]["first"]) != after:
            raise PageUnreadable(f"the directory does not send the rest of {name} of an entry")
        (found, more) = parts[0]
        values.extend(more)
    return values
