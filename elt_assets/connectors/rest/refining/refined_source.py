"""A REST listing whose records are chosen by membership, or completed by further requests.

If no record of a page has changed by its `unchanged` value, the page is not completed again.
Details are requested in `details`; members are chosen in `members_only`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from elt_assets.config.secret_refs import Secrets
from elt_assets.connectors.limits import FetchLimits
from elt_assets.connectors.mapping.expression_parser import parse, parse_keys
from elt_assets.connectors.mapping.templates import filled
from elt_assets.connectors.rest.pagination import PageAnswer
from elt_assets.connectors.rest.provider_data import RestData
from elt_assets.connectors.rest.refining.details import Details, RecordDetails
from elt_assets.connectors.rest.refining.members_only import MemberKeys, OnlyMembers
from elt_assets.connectors.rest.rest_source import RestSource
from elt_assets.connectors.source import Cursor, KnownPage, Page, Presence
from elt_assets.errors import PageUnreadable, ProviderUnavailable
from elt_assets.identifiers import IntegrationRef


class RefinedSource(RestSource):
    """One stream of a REST integration with `details` or `only_members_of`."""

    def __init__(
        self,
        config: RestData,
        stream: str,
        *,
        ref: IntegrationRef | None = None,
        secrets: Secrets,
        limits: FetchLimits,
    ) -> None:
        super().__init__(config, stream, ref=ref, secrets=secrets, limits=limits)
        described = config.streams[stream]
        self._stop = threading.Event()
        self._known: dict[str, KnownPage] = {}
        self._begun_at: dict[str, Cursor | None] = {}
        self._details = None if described.details is None else self._completing(described.details)
        self._members: MemberKeys | None = None
        if described.only_members_of is not None:
            listing = RestSource(
                config,
                described.only_members_of.stream,
                ref=ref,
                secrets=secrets,
                limits=limits,
                beside=self,
            )
            self._members = self._choosing(described.only_members_of, listing)

    def pages(
        self,
        cursor: Cursor | None,
        since: str | None = None,
        first: Callable[[], PageAnswer] | None = None,
    ) -> Iterator[Page]:
        """Yield pages after `cursor` (from the first when None) up to the last one."""
        if self._members is not None:
            self._members.gather()
        begun_at = cursor
        for page in super().pages(cursor, since, first):
            yield self._refined(page, begun_at)
            begun_at = page.next

    def recall(self, pages: Iterable[KnownPage]) -> None:
        """Do not complete these pages again if their records have not changed, from now on."""
        self._known = {page.asked: page for page in pages}

    def again(self, page: Page) -> Page:
        """Request and complete a page that was taken for unchanged."""
        if page.known is None:
            return page
        listed = next(super().pages(self._begun_at[page.known.asked]))
        if self._details is None or self._mark(listed) != page.known.etag:
            raise ProviderUnavailable("a page changed after it was taken for unchanged")
        return replace(self._whole(listed, page.known.etag), next=page.next, doubts=page.doubts)

    def probe(self, missing: Sequence[str], listed: Sequence[str]) -> Mapping[str, Presence]:
        """Request single records; one that exists is UNKNOWN, as it may have left the groups."""
        found = super().probe(missing, listed)
        if self._members is None:
            return found
        return {
            key: Presence.UNKNOWN if one is Presence.PRESENT else one for key, one in found.items()
        }

    def close(self) -> None:
        """End requests that are under way and close connections."""
        self._stop.set()
        super().close()

    def _refined(self, page: Page, begun_at: Cursor | None) -> Page:
        if self._members is not None:
            try:
                body, count = self._members.kept(page.body, self.records)
            except (msgspec.DecodeError, KeyError, UnicodeDecodeError, RecursionError):
                raise PageUnreadable("the records of a page cannot be separated") from None
            # The provider's total also counts the records that are left out here, so the page has
            # none.
            page = Page(
                body,
                count,
                next=page.next,
                cut_short=page.cut_short,
                doubts=(*page.doubts, *self._members.doubts),
            )
        if self._details is None:
            return page
        mark = self._mark(page)
        known = self._known.get(page.asked or "")
        if known is not None and mark == known.etag and page.next == known.next:
            self._begun_at[known.asked] = begun_at
            return replace(page, body=b"", etag=mark, known=known)
        return self._whole(page, mark)

    def _whole(self, page: Page, mark: str | None) -> Page:
        assert self._details is not None  # noqa: S101
        self._stop = threading.Event()
        body, count = self._details.completed(page.body, self.records, self._stop)
        return replace(page, body=body, count=count, etag=mark)

    def _mark(self, page: Page) -> str | None:
        """The mark that is equal for an unchanged page; None if it is always completed."""
        if self._details is None or page.doubts or page.cut_short or page.bare_end:
            return None
        return self._details.mark(page.body, self.records)

    def _completing(self, described: RecordDetails) -> Details:
        return Details(
            self.client,
            filled(f"{self._endpoint}/{described.path.lstrip('/')}", self._names),
            {name: filled(text, self._names) for name, text in described.params.items()},
            parse_keys(described.record),
            described.into,
            self.fields["external_id"],
            None if described.unchanged is None else parse(described.unchanged),
            self._dialect.body,
            self.concurrency,
            self._limits.page_bytes,
        )

    def _choosing(self, described: OnlyMembers, listing: RestSource) -> MemberKeys:
        def read(group: str) -> Iterator[Any]:
            return listing.under(group, group).pages(None)

        return MemberKeys(
            described.groups,
            read,
            listing.records,
            listing.fields["member_external_id"],
            self.fields["external_id"],
        )
