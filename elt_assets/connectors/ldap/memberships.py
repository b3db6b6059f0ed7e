"""Memberships of a directory's groups, as pairs of keys.

The groups are listed page by page; a second connection looks up their members.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from elt_assets.config.secret_refs import Secrets
from elt_assets.connectors.json.record_list import json_list
from elt_assets.connectors.ldap import entry_records
from elt_assets.connectors.ldap.codec import LdapEntry, Search, equals
from elt_assets.connectors.ldap.directory_listing import (
    Listed,
    SearchPosition,
    doubts,
    listed,
    resumed,
)
from elt_assets.connectors.ldap.ldap_data import LdapData, LdapMembership, LdapStream
from elt_assets.connectors.ldap.member_lookup import Member, MemberLookup
from elt_assets.connectors.ldap.session import LdapSession, Sessions
from elt_assets.connectors.limits import FetchLimits
from elt_assets.connectors.mapping.field_map import parsed
from elt_assets.connectors.probing.member_probes import ListedMembers as Found
from elt_assets.connectors.probing.member_probes import probe_memberships
from elt_assets.connectors.source import Cursor, Incremental, Page, Presence
from elt_assets.errors import PageUnreadable

_ON_A_PAGE = 5_000
"""Memberships of one page."""
_GROUPS_AT_ONCE = 50
_encode = msgspec.json.Encoder().encode


class MembershipSource:
    """The memberships of one directory."""

    records: tuple[str, ...] = ()
    probes = True
    incremental: Incremental | None = None
    resumable = True
    """What was listed before the position is read again and compared."""
    snapshot = False
    """The directory may change while its pages are read one after the other."""

    def __init__(
        self, config: LdapData, stream: str, *, secrets: Secrets, limits: FetchLimits
    ) -> None:
        self._config = config
        self._stream: LdapStream = config.streams[stream]
        self._members = self._stream.members or LdapMembership()
        self.fields = parsed(self._stream.fields, self._stream.unordered)
        self._key = config.id_attribute("groups")
        self._limits = limits
        self._page_size = min(self._stream.page_size, _GROUPS_AT_ONCE)
        self._sessions = Sessions(config.connection, secrets=secrets, limits=limits)

    @property
    def requests(self) -> int:
        """Messages sent so far."""
        return self._sessions.requests

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._sessions.closed

    def otherwise(self) -> None:
        """From now on list groups with another page size."""
        self._page_size = max(1, self._page_size // 2 + 1)

    def pages(self, cursor: Cursor | None, since: str | None = None) -> Iterator[Page]:
        """Yield pages after `cursor` (from the first when None) up to the last one."""
        session, lookups = self._sessions.open(), self._sessions.open()
        begin = resumed(cursor)
        try:
            groups = listed(
                session,
                self._search(),
                begin,
                key=self._named,
                most_pages=self._limits.max_pages,
                keep_elsewhere=self._stream.referrals == "incomplete",
            )
            yield from self._pages(groups, self._directory(lookups), begin)
        finally:
            session.close()
            lookups.close()

    def probe(self, missing: Sequence[str], listed: Sequence[str]) -> Mapping[str, Presence]:
        """Read each affected group again, once."""
        session = self._sessions.open()
        try:
            return probe_memberships(missing, listed, lambda key: self._again(session, key), self)
        finally:
            session.close()

    def close(self) -> None:
        """End searches that are under way and close the connections."""
        self._sessions.close()

    def _pages(
        self, groups: Iterable[Listed], directory: MemberLookup, begin: SearchPosition
    ) -> Iterator[Page]:
        """Memberships in pages, each with the position after its last membership."""
        after, held = begin.after, list[bytes]()
        for page in groups:
            before = begin
            for entry, behind in zip(page.entries, page.places, strict=True):
                key = entry_records.key_of(entry, self._key)
                if key is None:
                    raise PageUnreadable(
                        f"a group has no {self._key}, which identifies it; correct external_id of "
                        "streams.groups, or the account's rights"
                    )
                for member in directory.of(entry):
                    if after is not None and member.key <= after:
                        continue
                    held.append(_encode(_record(key, member)))
                    if len(held) == _ON_A_PAGE:
                        place = msgspec.structs.replace(
                            before, after=member.key, unread=begin.unread + directory.unread
                        )
                        yield self._page(held, place)
                        held = []
                after, before = None, behind
            begin = page.behind
            place = msgspec.structs.replace(begin, unread=begin.unread + directory.unread)
            if held or page.last:
                yield self._page(held, place, last=page.last, cut_short=page.cut_short)
                held = []

    def _page(
        self,
        held: Sequence[bytes],
        place: SearchPosition,
        last: bool = False,
        cut_short: str | None = None,
    ) -> Page:
        return Page(
            json_list(held),
            len(held),
            next=None if last else msgspec.to_builtins(place),
            cut_short=cut_short,
            doubts=doubts(place) if last else (),
        )

    def _again(self, session: LdapSession, key: str) -> Found | None:
        """The members that a group has now; no members if the group is no longer listed.

        None if the answer does not show all of them.
        """
        value = entry_records.read_back(self._key, key)
        if value is None:
            return None
        text = f"(&{equals(self._key, value)}{self._stream.filter})"
        search = Search(self._base, self._stream.scope, text, self._search().attributes)
        answer = session.search(search)
        elsewhere = answer.references and self._stream.referrals == "incomplete"
        if answer.cut_short is not None or elsewhere or len(answer.entries) > 1:
            return None
        directory = self._directory(session)
        keys = {member.key for entry in answer.entries for member in directory.of(entry)}
        return Found(frozenset(keys), whole=directory.unread == 0)

    def _directory(self, session: LdapSession) -> MemberLookup:
        return MemberLookup(self._config, self._members, session, self._limits.page_records)

    def _search(self) -> Search:
        attributes = (self._key, self._members.attribute)
        stream = self._stream
        return Search(self._base, stream.scope, stream.filter, attributes, self._page_size)

    @property
    def _base(self) -> str:
        return self._stream.base or self._config.base

    def _named(self, entry: LdapEntry) -> str:
        return entry_records.key_of(entry, self._key) or entry.dn


def _record(group: str, member: Member) -> dict[str, str]:
    return {"group": group, "member": member.key, "kind": member.kind}
