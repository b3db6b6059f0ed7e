"""A stream of entries of a directory: pages, changes, and single entries by their key.

Memberships of groups are in `memberships`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import msgspec

from elt_assets.config.secret_refs import Secrets
from elt_assets.connectors.json.record_list import json_list
from elt_assets.connectors.ldap import entry_records
from elt_assets.connectors.ldap.change_numbers import changed_since, current_mark
from elt_assets.connectors.ldap.codec import LdapEntry, Search, any_of, equals
from elt_assets.connectors.ldap.directory_listing import (
    Listed,
    SearchPosition,
    doubts,
    listed,
    resumed,
)
from elt_assets.connectors.ldap.ldap_data import (
    LdapData,
    LdapStream,
    attribute_of,
)
from elt_assets.connectors.ldap.ranges import completed
from elt_assets.connectors.ldap.session import LdapSession, Sessions
from elt_assets.connectors.limits import FetchLimits
from elt_assets.connectors.mapping.expression_parser import parse
from elt_assets.connectors.mapping.expressions import names_used
from elt_assets.connectors.mapping.field_map import parsed
from elt_assets.connectors.probing.control import controls
from elt_assets.connectors.probing.record_probes import MOST_REQUESTS
from elt_assets.connectors.source import Cursor, FieldMap, Incremental, Page, Presence, Source
from elt_assets.errors import PageUnreadable, ProviderRefused, ProviderUnavailable
from elt_assets.identifiers import IntegrationRef

_AT_ONCE = 50
"""Most keys in one search for missing entries."""
_MOST_VALUES = 500_000
"""Most values of one attribute of one entry."""
_encode = msgspec.json.Encoder().encode


class LdapSource:
    """One stream of one directory."""

    records: tuple[str, ...] = ()
    probes = True
    resumable = True
    """What was listed before the position is read again and compared."""
    snapshot = False
    """The directory may change while its pages are read one after the other."""

    def __init__(
        self,
        config: LdapData,
        stream: str,
        *,
        secrets: Secrets,
        limits: FetchLimits,
    ) -> None:
        self._config = config
        self._stream: LdapStream = config.streams[stream]
        self._limits = limits
        self._page_size = self._stream.page_size
        self._key = attribute_of(self._stream.fields["external_id"])
        self.fields = _fields(config, self._stream)
        names = [name for one in self.fields.values() for name in names_used(one)]
        self._shape = entry_records.shape(names, self._stream.several)
        self._sessions = Sessions(config.connection, secrets=secrets, limits=limits)

    @property
    def incremental(self) -> Incremental | None:
        """Set where the configuration says that only changes are read."""
        return None if self._stream.incremental is None else self._stream.incremental.seam()

    @property
    def requests(self) -> int:
        """Messages sent so far."""
        return self._sessions.requests

    def otherwise(self) -> None:
        """From now on list with another page size."""
        self._page_size = max(1, self._page_size // 2 + 1)

    def pages(self, cursor: Cursor | None, since: str | None = None) -> Iterator[Page]:
        """Yield pages after `cursor` (from the first when None) up to the last one."""
        session, details = self._sessions.open(), self._sessions.open()
        try:
            place, changed = self._begun(session, resumed(cursor), since)
            of_deleted = self._of_deleted(changed)
            if not place.deleted:
                for page in self._listed(session, self._search(changed), place):
                    if page.last and page.cut_short is None and of_deleted is not None:
                        place = SearchPosition(
                            elsewhere=page.behind.elsewhere, deleted=True, mark=place.mark
                        )
                        page = replace(page, last=False, behind=place)
                    yield self._page(page, details)
                    if page.cut_short is not None:
                        return
            if place.deleted and of_deleted is not None:
                for page in self._listed(session, of_deleted, place):
                    behind = msgspec.structs.replace(page.behind, deleted=True)
                    yield self._page(replace(page, behind=behind), details)
        finally:
            session.close()
            details.close()

    def _begun(
        self, session: LdapSession, place: SearchPosition, since: str | None
    ) -> tuple[SearchPosition, str | None]:
        """The position with its listing's mark, and the filter for entries changed `since`.

        Raises `MarkRefused` if the server is no longer the one of the mark.
        """
        if self.incremental is None or not self.incremental.by_mark:
            when = since and f"({self._config.changed_attribute}>={entry_records.moment(since)})"
            return place, when
        current = current_mark(session)
        changed = since and changed_since(since, current)
        if place.mark is None:
            return msgspec.structs.replace(place, mark=str(current)), changed
        changed_since(place.mark, current)
        return place, changed

    def _listed(
        self, session: LdapSession, search: Search, place: SearchPosition
    ) -> Iterator[Listed]:
        return listed(
            session,
            search,
            place,
            key=self._named,
            most_pages=self._limits.max_pages,
            keep_elsewhere=self._stream.referrals == "incomplete",
        )

    def probe(self, missing: Sequence[str], listed: Sequence[str]) -> Mapping[str, Presence]:
        """Search for entries by key below the stream's base and with its filter.

        Each search also includes a control, an entry that was just listed.
        """
        found = dict.fromkeys(missing, Presence.UNKNOWN)
        chosen = controls(missing, listed)
        if chosen is None:
            return found
        asked = chosen.covered[: MOST_REQUESTS * _AT_ONCE]
        session = self._sessions.open()
        try:
            for at in range(0, len(asked), _AT_ONCE):
                found |= self._present(session, chosen.first, asked[at : at + _AT_ONCE])
        except ProviderUnavailable:
            if self._sessions.closed:
                raise
        except (ProviderRefused, PageUnreadable):
            # The search itself is refused, so the remaining entries stay UNKNOWN.
            pass
        finally:
            session.close()
        return found

    def close(self) -> None:
        """End searches that are under way and close the connections."""
        self._sessions.close()

    def _present(
        self, session: LdapSession, control: str, keys: Sequence[str]
    ) -> dict[str, Presence]:
        filters = {
            key: equals(self._key, value)
            for key in (control, *keys)
            if (value := entry_records.read_back(self._key, key)) is not None
        }
        if control not in filters:
            return {}
        answer = session.search(
            Search(
                self._base,
                self._stream.scope,
                f"(&{any_of(list(filters.values()))}{self._stream.filter})",
                (self._key,),
            )
        )
        there = {entry_records.key_of(entry, self._key) for entry in answer.entries}
        elsewhere = answer.references and self._stream.referrals == "incomplete"
        if answer.cut_short is not None or elsewhere or control not in there:
            return {}
        return {
            key: Presence.PRESENT if key in there else Presence.GONE
            for key in keys
            if key in filters
        }

    def _search(self, changed: str | None) -> Search:
        text = self._stream.filter if changed is None else f"(&{self._stream.filter}{changed})"
        attributes = dict.fromkeys((*self._shape.attributes, self._key))
        return Search(self._base, self._stream.scope, text, tuple(attributes), self._page_size)

    def _of_deleted(self, changed: str | None) -> Search | None:
        """The search for objects deleted since then, or None.

        It does not use the stream's filter: a deleted object may lack attributes of the filter.
        """
        incremental = self._stream.incremental
        if changed is None or incremental is None or not incremental.deleted:
            return None
        return replace(
            self._search(None),
            base=self._config.deleted_objects,
            scope="subtree",
            filter=f"(&(isDeleted=TRUE){changed})",
            deleted=True,
        )

    @property
    def _base(self) -> str:
        return self._stream.base or self._config.base

    def _named(self, entry: LdapEntry) -> str:
        return entry_records.key_of(entry, self._key) or entry.dn

    def _page(self, page: Listed, details: LdapSession) -> Page:
        entries = (completed(entry, details.lookup, _MOST_VALUES) for entry in page.entries)
        made = [_encode(self._shape.record(entry)) for entry in entries]
        body = json_list(made)
        if len(body) > self._limits.page_bytes:
            raise PageUnreadable(
                f"a page of {len(made):,} entries has {len(body):,} bytes, more than the "
                f"{self._limits.page_bytes:,} allowed (ELT_ASSETS_PAGE_BYTES); lower page_size"
            )
        return Page(
            body,
            len(made),
            next=None if page.last else msgspec.to_builtins(page.behind),
            cut_short=page.cut_short,
            doubts=doubts(page.behind) if page.last else (),
            mark=page.behind.mark if page.last else None,
        )


def open_ldap(
    config: LdapData,
    stream: str,
    *,
    ref: IntegrationRef | None,  # noqa: ARG001 (what opens a source gets it)
    secrets: Secrets,
    limits: FetchLimits,
) -> Source:
    """Open a stream of entries, or of memberships."""
    if config.streams[stream].members is not None:
        from elt_assets.connectors.ldap.memberships import MembershipSource

        return MembershipSource(config, stream, secrets=secrets, limits=limits)
    return LdapSource(config, stream, secrets=secrets, limits=limits)


def _fields(config: LdapData, stream: LdapStream) -> FieldMap:
    """The fields of the stream; with `incremental`, also `source_updated_at` and `deleted`."""
    fields = parsed(stream.fields, stream.unordered)
    if stream.incremental is not None and "source_updated_at" not in fields:
        fields["source_updated_at"] = parse(config.changed_attribute)
    if stream.incremental is not None and stream.incremental.deleted:
        fields.setdefault("deleted", parse('isDeleted == "TRUE"'))
    return fields
