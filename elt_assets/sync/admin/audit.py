"""Audits of both stores over all integrations: each returns a count and a sample of wrong keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from elt_assets.errors import SyncError
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.warehouse.warehouse import one_row
from elt_assets.sync.admin.completeness import incomplete_listings, lacking_complete_listings
from elt_assets.sync.admin.freshness import freshness
from elt_assets.sync.extract.record_mapping import id_of_key
from elt_assets.sync.outcome import Mode, Status
from elt_assets.sync.service import SyncService
from elt_assets.sync.state import change_log, versions
from elt_assets.sync.state.latest_images import LatestImages
from elt_assets.sync.state.ledger import SyncRow
from elt_assets.sync.state.registry import Integration
from elt_assets.sync.state.store_tables import has_tables
from elt_assets.sync.state.sync_history import SETTLED, sql_list
from elt_assets.sync.streams import Stream, StreamKey

SAMPLE = 10
RARE = 0.01
"""Share of rejected records from which an integration deserves a look."""


class AuditResult(msgspec.Struct, frozen=True):
    """The result of an audit: how many rows offend, a sample of them, and how many were checked."""

    audit: str
    looked_at: int
    offending: int
    sample: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether nothing offends."""
        return self.offending == 0


Audit = Callable[[SyncService, Stream], AuditResult]


def books_balance(platform: SyncService, stream: Stream) -> AuditResult:
    """Every settled sync's counts add up, from fetched records to rows in the latest table."""
    settled = sql_list(SETTLED)
    rows = platform.database.rows(
        f"""
        SELECT organization_id, connected_integration_id, sync_id
        FROM syncs
        WHERE stream = ? AND status IN ({settled}) AND NOT (
            fetched = staged + rejected
            AND staged - duplicates = "unique"
            AND (
                "unique" = inserts + updates + withheld_inserts + withheld_updates
                    + unchanged + tombstones
                OR mode = '{Mode.COMPENSATING}'
            )
            AND latest_before + inserts - deletes = latest
        )
        """,
        (stream.name,),
    )
    (looked_at,) = platform.database.rows(
        f"SELECT count(*) AS n FROM syncs WHERE stream = ? AND status IN ({settled})",
        (stream.name,),
    )
    return _result(
        "books_balance",
        looked_at["n"],
        (f"{_partition(row)} {row['sync_id']}" for row in rows),
    )


def keys_are_unique(platform: SyncService, stream: Stream) -> AuditResult:
    """No integration has two rows of one key in the latest table."""
    keys = ", ".join(column.name for column in stream.key)
    rows = platform.database.rows(
        f"""
        SELECT organization_id, connected_integration_id, {keys}
        FROM {stream.latest}
        GROUP BY organization_id, connected_integration_id, {keys}
        HAVING count(*) > 1
        """
    )
    return _result("keys_are_unique", _rows(platform, stream), map(_partition, rows))


def rows_have_owners(platform: SyncService, stream: Stream) -> AuditResult:
    """Every row of the latest table and of the ledger, and every warehouse file, belongs to a
    registered integration.
    """
    # Before and after: one that comes or goes meanwhile is no orphan.
    owners = _registered(platform)
    found = {ref.partition_key: "a warehouse file" for ref in platform.warehouses.refs()}
    for table, what in (
        ("syncs", "past syncs"),
        ("integration_versions", "a version"),
        (stream.latest, "latest rows"),
    ):
        rows = platform.database.rows(
            f"SELECT DISTINCT organization_id, connected_integration_id FROM {table}"
        )
        found |= {_partition(row): what for row in rows}
    owners |= _registered(platform)
    return _result(
        "rows_have_owners",
        len(found),
        (f"{key} ({what})" for key, what in sorted(found.items()) if key not in owners),
    )


def rows_stay_with_their_tenant(platform: SyncService, stream: Stream) -> AuditResult:
    """No integration's file holds a record or a change of another one.

    An integration that is being synced is left to the next audit.
    """

    def strangers(integration: Integration) -> str | None:
        found = _strangers(platform, stream, integration.ref)
        return f"{found} rows of others" if found else None

    return _in_each_file(
        "rows_stay_with_their_tenant", platform, platform.registry.all(), strangers
    )


def log_replays(platform: SyncService, stream: Stream) -> AuditResult:
    """Replaying each integration's change log gives its rows in the latest table, and each
    row's id is that of its own tenant and key.

    An integration that is being synced is left to the next audit.
    """

    def differences(integration: Integration) -> str | None:
        found = _differences(platform, stream, integration.ref)
        return f"{found} rows differ" if found else None

    logged = [
        integration
        for integration in platform.registry.all()
        if integration.offers(stream)
        or versions.current(platform.database, StreamKey(stream, integration.ref)).version
    ]
    return _in_each_file("log_replays", platform, logged, differences)


def newest_syncs_succeeded(platform: SyncService, stream: Stream) -> AuditResult:
    """No enabled integration's newest sync has failed."""
    newest = _newest(platform, stream)
    return _result(
        "newest_syncs_succeeded",
        len(newest),
        (key for key, row in newest.items() if row.status is Status.FAILED),
    )


def nothing_is_quarantined(platform: SyncService, stream: Stream) -> AuditResult:
    """No withheld changes wait for a decision."""
    waiting = [row for row in platform.quarantined() if row.stream == stream.name]
    # All of them are named, because a person must decide about each.
    named = [
        f"{row.partition}: {row.counts.withheld_by_type} are withheld, "
        f"{row.counts.latest:,} rows in latest" + _such_as(platform, row, shown=place < SAMPLE)
        for place, row in enumerate(waiting)
    ]
    return AuditResult(
        "nothing_is_quarantined",
        sum(integration.offers(stream) for integration in platform.registry.all()),
        len(named),
        tuple(named),
    )


def integrations_are_fresh(platform: SyncService, stream: Stream) -> AuditResult:
    """Every enabled integration has been brought up to date within its time."""
    expected = freshness(platform, stream)
    return _result(
        "integrations_are_fresh",
        len(expected),
        (one.partition for one in expected if one.overdue),
    )


def rejects_are_rare(platform: SyncService, stream: Stream) -> AuditResult:
    """Hardly any record of the newest syncs was unusable."""
    newest = _newest(platform, stream)
    return _result(
        "rejects_are_rare",
        len(newest),
        (
            f"{key} ({row.counts.rejected} of {row.counts.fetched})"
            for key, row in newest.items()
            if row.counts.rejected > row.counts.fetched * RARE
        ),
    )


def extractions_are_complete(platform: SyncService, stream: Stream) -> AuditResult:
    """The newest listings are complete: nothing keeps a sync from deleting what they lack."""
    incomplete = incomplete_listings(platform, stream)
    return _result(
        "extractions_are_complete",
        len(platform.offering(stream)),
        (f"{listing.partition} ({listing.why})" for listing in incomplete),
    )


def listings_are_complete_in_time(platform: SyncService, stream: Stream) -> AuditResult:
    """Every enabled integration has had a complete listing within its time."""
    return _result(
        "listings_are_complete_in_time",
        len(platform.offering(stream)),
        lacking_complete_listings(platform, stream),
    )


ERRORS: tuple[Audit, ...] = (
    books_balance,
    keys_are_unique,
    rows_have_owners,
    rows_stay_with_their_tenant,
    log_replays,
    newest_syncs_succeeded,
    nothing_is_quarantined,
    listings_are_complete_in_time,
)
"""What must hold: a person has to act where it does not."""

WARNINGS: tuple[Audit, ...] = (
    integrations_are_fresh,
    rejects_are_rare,
    extractions_are_complete,
)
"""What deserves a look."""


def _result(audit: str, looked_at: int, offending: Iterable[str]) -> AuditResult:
    found = list(offending)
    return AuditResult(audit, looked_at, len(found), tuple(found[:SAMPLE]))


def _such_as(platform: SyncService, row: SyncRow, *, shown: bool) -> str:
    """A few keys of what is withheld; reading them opens the integration's file."""
    sample = platform.withheld_sample(row)[:3] if shown else ()
    return f"; such as {', '.join(one['external_id'] for one in sample)}" if sample else ""


def _in_each_file(
    name: str,
    platform: SyncService,
    integrations: Iterable[Integration],
    wrong_with: Callable[[Integration], str | None],
) -> AuditResult:
    """What is wrong with the integrations' warehouse files; one that is being synced is left out.

    A file that cannot be read is wrong, too.
    """
    looked_at, offending = 0, []
    for integration in integrations:
        ref = integration.ref
        if not platform.warehouses.exists(ref) or platform.warehouses.is_held(ref):
            continue
        looked_at += 1
        try:
            wrong = wrong_with(integration)
        except SyncError as error:
            wrong = str(error)
        if wrong:
            offending.append(f"{ref} ({wrong})")
    return _result(name, looked_at, offending)


def _partition(row: dict[str, str]) -> str:
    return f"{row['organization_id']}:{row['connected_integration_id']}"


def _registered(platform: SyncService) -> set[str]:
    return {integration.ref.partition_key for integration in platform.registry.all()}


def _strangers(platform: SyncService, stream: Stream, ref: IntegrationRef) -> int:
    with platform.warehouses.open(ref, read_only=True) as warehouse:
        if not has_tables(warehouse, stream):
            return 0
        return sum(
            one_row(
                warehouse,
                f"SELECT count(*) FROM {table} WHERE organization_id <> $organization_id"
                " OR connected_integration_id <> $integration_id",
                {"organization_id": ref.organization_id, "integration_id": ref.integration_id},
            )[0]
            for table in (stream.landed, stream.cdc, stream.withheld)
        )


def _rows(platform: SyncService, stream: Stream) -> int:
    return int(platform.database.rows(f"SELECT count(*) AS n FROM {stream.latest}")[0]["n"])


def _newest(platform: SyncService, stream: Stream) -> dict[str, SyncRow]:
    return {row.partition: row for row in platform.newest_syncs(stream)}


def _differences(platform: SyncService, stream: Stream, ref: IntegrationRef) -> int:
    """Rows of the latest table that replay or identity does not confirm, and the reverse."""
    streamkey = StreamKey(stream, ref)
    version = versions.current(platform.database, streamkey).version
    with platform.warehouses.open(ref, read_only=True) as warehouse:
        if not has_tables(warehouse, stream):
            return 0
        LatestImages(warehouse, platform.database, streamkey).load()
        key = change_log.columns_of_image(stream.key, "image")
        keyed = id_of_key(
            stream,
            f"SELECT id AS stored, $organization_id AS organization_id,"
            f" $integration_id AS connected_integration_id, {key} FROM latest_rows",
        )
        row = warehouse.execute(
            f"""
            SELECT
                (
                    SELECT count(*)
                    FROM ({change_log.replayed(stream)}) AS replayed
                    FULL JOIN latest_rows AS held ON held.id = replayed.id
                    WHERE replayed.content_hash IS DISTINCT FROM held.content_hash
                )
                + (SELECT count(*) FROM ({keyed}) WHERE id <> stored)
            """,
            {
                "organization_id": ref.organization_id,
                "integration_id": ref.integration_id,
                "applied": version,
                "moment": "9999-12-31",
            },
        ).fetchone()
    return 0 if row is None else int(row[0])
