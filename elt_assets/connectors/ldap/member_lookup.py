"""Who the members of a group are: the entries behind the names that it lists.

Names are looked up several at once and kept, up to a bound. A name without an entry is none; one
whose entry another server holds, or that may not be read, is unread.
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
"""Names that one search is for."""
_KEPT = 100_000
"""Names whose entries are remembered."""
_GROUP_CLASSES = frozenset({b"group", b"groupofnames", b"groupofuniquenames", b"posixgroup"})


@dataclass(frozen=True, slots=True)
class Member:
    """An entry that a group names."""

    key: str
    kind: str
    dn: str


class MemberLookup:
    """Looks members up. `unread` counts the names whose entries could not be read."""

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
        """Members of a group in the order of their keys, each once; not the group itself.

        Raises `PageUnreadable` for more than `most`.
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
        """What a group in a group lists; nothing where it is gone meanwhile."""
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
        """A name that the search for several did not find: spelled otherwise, or elsewhere."""
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
    """Names that differ in case and in spaces between their parts are one."""
    return name.lower().replace(b", ", b",").replace(b" ,", b",")
