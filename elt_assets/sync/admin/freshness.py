"""How long ago each integration was last brought up to date, from the registry and the ledger."""

from __future__ import annotations

import msgspec

from elt_assets.sync.clock import seconds_since
from elt_assets.sync.service import SyncService
from elt_assets.sync.state import sync_history
from elt_assets.sync.streams import STREAMS, Stream


class Freshness(msgspec.Struct, frozen=True):
    """One stream of an enabled integration.

    `since` is when a sync of the stream last settled, or when the integration was last registered,
    enabled or configured if that is later. `configured_at` is when the integration was last
    registered, enabled or configured. `provider` is the provider's name, `records` the number of
    rows in the latest table after the newest settled sync.
    """

    partition: str
    provider: str
    since: str
    records: int
    stale_hours: float
    configured_at: str

    @property
    def overdue(self) -> bool:
        """Whether the stream was not brought up to date within `stale_hours`."""
        return self.age() > self.stale_hours * 3600

    def age(self) -> float:
        """Seconds since `since`."""
        return seconds_since(self.since)


def freshness(platform: SyncService, stream: Stream) -> list[Freshness]:
    """Every enabled integration that offers the stream, the longest waiting first."""
    return _offered(platform, stream, _freshness(platform, stream))


def overdue(platform: SyncService) -> list[Freshness]:
    """The streams that were not brought up to date within `stale_hours`, the oldest first."""
    found = [
        one
        for stream in STREAMS.values()
        # Which integrations offer a stream takes longer to read than how old it is.
        for one in _offered(
            platform, stream, [each for each in _freshness(platform, stream) if each.overdue]
        )
    ]
    return sorted(found, key=lambda one: one.since)


def _offered(platform: SyncService, stream: Stream, found: list[Freshness]) -> list[Freshness]:
    """Those of `found` whose integration offers the stream."""
    if not found:
        return []
    offering = {ref.partition_key for ref in platform.offering(stream)}
    return [one for one in found if one.partition in offering]


def _freshness(platform: SyncService, stream: Stream) -> list[Freshness]:
    """Every enabled integration, whether or not it offers the stream."""
    own = platform.database.dialect.number_at("c.provider_data", "safeguards", "stale_hours")
    rows = platform.database.rows(
        f"""
        SELECT
            c.organization_id || ':' || c.id AS "partition",
            c.provider AS provider,
            CASE
                WHEN c.updated_at > coalesce(v.settled_at, c.created_at) THEN c.updated_at
                ELSE coalesce(v.settled_at, c.created_at)
            END AS since,
            coalesce(s.latest, 0) AS records,
            coalesce({own}, ?) AS stale_hours,
            c.updated_at AS configured_at
        {sync_history.ENABLED_AND_NEWEST_SETTLED}
        ORDER BY since
        """,
        (platform.settings.stale_hours, stream.name),
    )
    return [Freshness(**row) for row in rows]
