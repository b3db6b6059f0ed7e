"""Incomplete listings, and which of them need a person's attention.

The certificate itself is made in `sync.extract.certificate`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from elt_assets.errors import EltAssetsError
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.admin.freshness import Freshness, freshness
from elt_assets.sync.clock import ago
from elt_assets.sync.outcome import Certificate, Mode, Outcome, Status
from elt_assets.sync.service import SyncService
from elt_assets.sync.state import sync_history
from elt_assets.sync.state.listings import SettledListing, newest_listings
from elt_assets.sync.state.sync_history import SETTLED
from elt_assets.sync.streams import STREAMS, Stream, StreamKey

MOST = 0.95
"""A listing with less than this share of the provider's own total is far from complete."""

_PERFECT = Certificate(complete=True, terminal_page=True)


def completeness(status: Status, mode: Mode, certificate: Certificate) -> bool | None:
    """Whether the listing of a sync is complete; None if the sync settled no listing."""
    if status not in SETTLED or mode is Mode.COMPENSATING:
        return None
    return certificate.complete


def needs_attention(certificate: Certificate, earlier: Certificate | None) -> bool:
    """Whether a person should look at this listing, given the certificate of the sync before it.

    `earlier` is None for a first sync. A listing that was cut, repeats keys across pages or
    covers less than 95% of the total needs attention when the listing before it was better.
    """
    if certificate.complete:
        return False
    if earlier is None:
        return True
    if _was_cut(certificate) and not _was_cut(earlier):
        return True
    if (certificate.repeated or 0) > (earlier.repeated or 0):
        return True
    coverage, before = certificate.coverage, earlier.coverage
    if coverage is None or coverage >= MOST:
        return False
    return before is None or coverage < before


def is_far_from_complete(certificate: Certificate) -> bool:
    """Whether the listing was cut, repeats keys across pages or covers too little of the total."""
    return needs_attention(certificate, _PERFECT)


def _was_cut(certificate: Certificate) -> bool:
    return certificate.cut_short is not None or not certificate.terminal_page


def incomplete_outcomes(platform: SyncService, outcomes: Iterable[Outcome]) -> list[Outcome]:
    """The settled outcomes whose listing is incomplete and needs attention."""
    return [
        outcome
        for outcome in outcomes
        if completeness(outcome.status, outcome.mode, outcome.certificate) is False
        and needs_attention(
            outcome.certificate,
            sync_history.certificate_before(
                platform.database,
                StreamKey(STREAMS[outcome.stream], IntegrationRef.parse(outcome.partition)),
                outcome.sync_id,
            ),
        )
    ]


def incomplete_listings(platform: SyncService, stream: Stream) -> list[SettledListing]:
    """The newest listings that are incomplete, of enabled integrations that offer the stream."""
    found = newest_listings(platform.database, stream, incomplete=True)
    offering = {ref.partition_key for ref in platform.offering(stream)} if found else set()
    return [listing for listing in found if listing.partition in offering]


def needs_a_person(listing: SettledListing) -> bool:
    """Whether an incomplete listing is far from complete, or no earlier one was complete."""
    return listing.complete_at is None or is_far_from_complete(listing.certificate)


def lacking_complete_listings(platform: SyncService, stream: Stream) -> list[str]:
    """Integrations without a recent complete listing, each with the reason.

    A complete listing must have settled within `stale_hours`. An integration that reads changes
    must also have read everything completely within the sum of `full_every` and `stale_hours`.
    """
    listed = {one.partition: one for one in newest_listings(platform.database, stream)}
    return [
        f"{one.partition} ({reason})"
        for one in freshness(platform, stream)
        if (reason := _lacks(platform, stream, one, listed.get(one.partition)))
    ]


def _lacks(
    platform: SyncService, stream: Stream, one: Freshness, listing: SettledListing | None
) -> str:
    limit = timedelta(hours=one.stale_hours)
    complete_at = listing.complete_at if listing else None
    if max(complete_at or "", one.configured_at) <= ago(limit):
        since = f"since {complete_at}" if complete_at else "so far"
        why = "nothing was listed" if listing is None else listing.why
        if listing is not None and listing.certificate.complete:
            why = "the newest listing is that old"
        return f"no complete listing {since}: {why}"
    full_at = listing.full_at if listing else None
    if max(full_at or "", one.configured_at) > ago(limit):
        return ""
    every = _full_every(platform, stream, one)
    if every is None or max(full_at or "", one.configured_at) > ago(every + limit):
        return ""
    since = f"since {full_at}" if full_at else "so far"
    return f"only changes were listed, and everything was not read completely {since}"


def _full_every(platform: SyncService, stream: Stream, one: Freshness) -> timedelta | None:
    try:
        integration = platform.registry.get(IntegrationRef.parse(one.partition))
        return platform.full_every(stream, integration)
    except EltAssetsError:
        # The integration's syncs fail with this error, and the checks for failed and for stale
        # integrations report it.
        return None
