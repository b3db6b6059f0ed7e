"""Audits of both stores over all integrations: each returns a count and a sample of wrong keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import msgspec

from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.admin.completeness import incomplete_listings, lacking_complete_listings
from elt_assets.sync.admin.freshness import freshness
from elt_assets.sync.admin.warehouse_audit.reading import WarehousesRead, read_warehouses
from elt_assets.sync.outcome import Mode, Status
from elt_assets.sync.service import SyncService
from elt_assets.sync.state.ledger import SyncRow
from elt_assets.sync.state.sync_history import SETTLED, sql_list
from elt_assets.sync.streams import Stream

SAMPLE = 10
RARE = 0.01
"""Share of rejected records above which a check warns about an integration."""


class AuditResult(msgspec.Struct, frozen=True):
    """The result of an audit: how many rows violate it, a sample of them, how many were checked.

    `not_due` counts the warehouses that passed before, have not changed since, and are read on
    another day.
    """

    audit: str
    looked_at: int
    offending: int
    sample: tuple[str, ...] = ()
    not_due: int = 0

    @property
    def passed(self) -> bool:
        """Whether no violation was found."""
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
    # Read before and after: an integration that is added or removed meanwhile is not a violation.
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
    """No integration's warehouse holds a record or a change of another integration.

    An integration that is being synced is left to the next audit.
    """
    return _of_tenants(read_warehouses(platform, stream, everything=True))


def log_replays(platform: SyncService, stream: Stream) -> AuditResult:
    """Replaying each integration's change log gives its rows in the latest table, and each
    row's id is that of its own tenant and key.

    An integration that is being synced is left to the next audit.
    """
    return _of_logs(read_warehouses(platform, stream, everything=True))


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
    # The sample has all of them, because a person must decide about each.
    named = [
        f"{row.partition}: {row.counts.waiting}, "
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
    """At most 1% of the records of each integration's newest sync were rejected."""
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
    """The newest listings are complete, so that syncs can delete the records that they lack."""
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
"""Audits that must pass: a person has to act on a violation."""

WARNINGS: tuple[Audit, ...] = (
    integrations_are_fresh,
    rejects_are_rare,
    extractions_are_complete,
)
"""Audits whose violations are only a warning."""


def _result(audit: str, looked_at: int, offending: Iterable[str]) -> AuditResult:
    found = list(offending)
    return AuditResult(audit, looked_at, len(found), tuple(found[:SAMPLE]))


def _such_as(platform: SyncService, row: SyncRow, *, shown: bool) -> str:
    """A few keys of the withheld changes; reading them opens the integration's warehouse."""
    sample = platform.withheld_sample(row)[:3] if shown else ()
    return f"; such as {', '.join(one['external_id'] for one in sample)}" if sample else ""


def _of_tenants(read: WarehousesRead) -> AuditResult:
    wrong = {
        ref: f"{one.strangers} rows of others"
        for ref, one in read.findings.items()
        if one.strangers
    }
    return _of_warehouses("rows_stay_with_their_tenant", read, wrong)


def _of_logs(read: WarehousesRead) -> AuditResult:
    wrong = {
        ref: f"{one.differing} rows differ" for ref, one in read.findings.items() if one.differing
    }
    return _of_warehouses("log_replays", read, wrong)


def _of_warehouses(
    audit: str, read: WarehousesRead, wrong: dict[IntegrationRef, str]
) -> AuditResult:
    """The result of an audit of warehouses; a warehouse that cannot be read is a violation, too."""
    unreadable = {ref: one.error for ref, one in read.findings.items() if one.error}
    found = _result(
        audit,
        len(read.findings),
        (f"{ref} ({why})" for ref, why in sorted({**unreadable, **wrong}.items())),
    )
    return msgspec.structs.replace(found, not_due=read.not_due)


_IN_WAREHOUSES: dict[Audit, Callable[[WarehousesRead], AuditResult]] = {
    rows_stay_with_their_tenant: _of_tenants,
    log_replays: _of_logs,
}
"""Audits that read warehouses; the warehouses are read once for all of these audits."""


def evaluate(
    platform: SyncService, stream: Stream, audits: Iterable[Audit], *, everything: bool
) -> Iterator[tuple[Audit, AuditResult]]:
    """Yield the results of several audits, each as soon as it is known.

    The audits read the warehouses that have changed since they last passed, and a share of the
    others; with `everything`, all of them.
    """
    read: WarehousesRead | None = None
    for audit in audits:
        if audit not in _IN_WAREHOUSES:
            yield audit, audit(platform, stream)
            continue
        read = read or read_warehouses(platform, stream, everything=everything)
        yield audit, _IN_WAREHOUSES[audit](read)


def _partition(row: dict[str, str]) -> str:
    return f"{row['organization_id']}:{row['connected_integration_id']}"


def _registered(platform: SyncService) -> set[str]:
    return {integration.ref.partition_key for integration in platform.registry.all()}


def _rows(platform: SyncService, stream: Stream) -> int:
    return int(platform.database.rows(f"SELECT count(*) AS n FROM {stream.latest}")[0]["n"])


def _newest(platform: SyncService, stream: Stream) -> dict[str, SyncRow]:
    return {row.partition: row for row in platform.newest_syncs(stream)}
