"""Find the entries of a group's members by the names that the group lists.

Several names are looked up at once, and results are cached up to a limit. A name without an entry
is not a member. A name counts as unread if the account may not read its entry, or if another server
holds it.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from elt_assets.connectors.ldap import entry_records
from elt_assets.connectors.ldap.codec import LdapEntry, Search, any_of, equals
from elt_assets.connectors.ldap.ldap_data import LdapData, LdapMembership
from elt_assets.connectors.ldap.ranges import completed
from elt_assets.connectors.ldap.session import LdapSession
from elt_assets.errors import PageUnreadable, ProviderRefused

_AT_ONCE = 100
"""Most names in one search."""
_KEPT = 100_000
"""Most names whose entries are cached."""
_GROUP_CLASSES = frozenset({b"group", b"groupofnames", b"groupofuniquenames", b"posixgroup"})


@dataclass(frozen=True, slots=True)
class Member:
    """An entry that a group names."""

    key: str
    kind: str
    dn: str


class MemberLookup:
    """Looks up members. `unread` counts the names whose entries could not be read."""

    def __init__(
        self, config: LdapData, members: LdapMembership, session: LdapSession, most: int
    ) -> None:
        self._config = config
        self._members = members
        self._session = session
        self._most = most
        self._user_key = config.id_attribute("users")
        self._group_key = config.id_attribute("groups")
        self._by = members.names or config.dn_attribute
        self._attributes = tuple(
            dict.fromkeys((self._user_key, self._group_key, "objectClass", self._by))
        )
        self._known: OrderedDict[bytes, Member | None] = OrderedDict()
        self.unread = 0

    def of(self, group: LdapEntry) -> list[Member]:
        """The members of a group, each once, sorted by key; the group itself is left out.

        Raises `PageUnreadable` if there are more than `most`.
        """
        found: dict[str, Member] = {}
        seen = {group.dn.lower()}
        waiting = deque([self._named(group)])
        while waiting:
            for member in self._looked_up(waiting.popleft()):
                if member.dn.lower() in seen:
                    continue
                seen.add(member.dn.lower())
                found[member.key] = member
                if len(found) > self._most:
                    raise PageUnreadable(
                        f"a group has more than {self._most:,} members; leave it out by filter"
                    )
                if self._members.nested and member.kind == "Group":
                    waiting.append(self._names_in(member.dn))
        return [found[key] for key in sorted(found)]

    def _named(self, group: LdapEntry) -> list[bytes]:
        whole = completed(group, self._session.lookup, self._most)
        return entry_records.values_of(whole, self._members.attribute)

    def _names_in(self, dn: str) -> list[bytes]:
        """The names that a nested group lists; none if the group no longer exists."""
        search = Search(dn, "base", "(objectClass=*)", (self._members.attribute,))
        answer = self._session.lookup(search)
        return self._named(answer.entries[0]) if answer is not None and answer.entries else []

    def _looked_up(self, names: Sequence[bytes]) -> Iterator[Member]:
        for at in range(0, len(names), _AT_ONCE):
            some = names[at : at + _AT_ONCE]
            fresh = [name for name in some if _same(name) not in self._known]
            if fresh:
                self._look_up(fresh)
            for name in some:
                member = self._known.get(_same(name))
                if member is not None:
                    yield member
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)

    def _look_up(self, names: Sequence[bytes]) -> None:
        filters = [equals(self._by, name) for name in names]
        search = Search(self._config.base, "subtree", any_of(filters), self._attributes)
        answer = self._session.search(search)
        for entry in answer.entries:
            for value in [entry.dn.encode(), *entry_records.values_of(entry, self._by)]:
                self._known[_same(value)] = self._member(entry)
        for name in names:
            if _same(name) not in self._known:
                self._known[_same(name)] = self._alone(name)

    def _alone(self, name: bytes) -> Member | None:
        """Look up one name that the search for several did not find.

        Its spelling may differ from the entry's, or it may be outside the base.
        """
        if self._members.names is not None:
            return None
        try:
            base = name.decode()
            answer = self._session.lookup(Search(base, "base", "(objectClass=*)", self._attributes))
        except (ProviderRefused, UnicodeDecodeError):
            self.unread += 1
            return None
        if answer is None or not answer.entries:
            return None
        return self._member(answer.entries[0])

    def _member(self, entry: LdapEntry) -> Member | None:
        classes = {value.lower() for value in entry_records.values_of(entry, "objectClass")}
        is_group = bool(classes & _GROUP_CLASSES)
        key = entry_records.key_of(entry, self._group_key if is_group else self._user_key)
        if key is None:
            self.unread += 1
            return None
        return Member(key, "Group" if is_group else "User", entry.dn)


def _same(name: bytes) -> bytes:
    """The form in which two spellings of a name are equal: case and spaces around commas differ."""
    return name.lower().replace(b", ", b",").replace(b" ,", b",")
