"""A fleet of a given size with a history, created without syncing it.

Registry, ledger and Dagster's partitions and events hold what `days` of daily syncs would have
written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from elt_assets.config.settings import load_settings
from elt_assets.definitions import assembled
from elt_assets.identifiers import IntegrationRef
from elt_assets.orchestration.assets.materializations import materializations
from elt_assets.orchestration.instance.opening import open_instance
from elt_assets.orchestration.partitions import add_partition_keys
from elt_assets.sync.outcome import Counts, Outcome, Stage, Status
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import USERS

USERS_EACH = 1_000
_A_TENTH = 10
"""One in this many integrations is the only one of its organization."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """An installation, its Dagster instance and its graph."""

    platform: SyncService
    instance: dg.DagsterInstance
    definitions: dg.Definitions


@contextmanager
def fleet(integrations: int, days: int) -> Iterator[Fleet]:
    """Create the fleet in the current folder, and yield it."""
    settings = load_settings(home=Path("home"))
    with SyncService.open(settings) as platform, open_instance(settings) as instance:
        refs = refs_of(integrations)
        register(platform, refs)
        if days:
            _remember(platform, days)
        add_partition_keys(instance, refs)
        _materialize(instance, refs)
        yield Fleet(platform, instance, assembled(platform=platform))


def refs_of(integrations: int) -> list[IntegrationRef]:
    """One large organization, a few of ten integrations, and many of one."""
    singles = integrations // _A_TENTH
    tens = integrations // 2
    return [
        *(IntegrationRef("giant", f"i-{n:05}") for n in range(integrations - tens - singles)),
        *(IntegrationRef(f"ten-{n // 10:05}", f"i-{n % 10}") for n in range(tens)),
        *(IntegrationRef(f"one-{n:05}", "i-0") for n in range(singles)),
    ]


def register(platform: SyncService, refs: Sequence[IntegrationRef]) -> None:
    """Register the integrations one by one, as a person would."""
    for ref in refs:
        platform.registry.add(ref, "rest", _provider_data(ref))


def _provider_data(ref: IntegrationRef) -> dict[str, Any]:
    return {
        "permission_source_name": f"Directory {ref.integration_id}",
        "api_endpoint": f"https://{ref.organization_id}.example.com/v1",
        "auth": {"type": "bearer", "token": {"env": "BENCHMARK_TOKEN"}},
        "streams": {
            "users": {
                "path": "/users",
                "records": "items",
                "pagination": {"type": "cursor", "cursor": "next", "param": "after"},
                "fields": {"external_id": "id", "name": "name", "email": "email"},
            }
        },
    }


def _remember(platform: SyncService, days: int) -> None:
    """Fill the ledger with daily syncs up to today, of which one in a hundred failed today."""
    # Two hours ago, so that the recovery sensor finds the failed syncs due.
    began = (
        f"strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-2 hours', printf('-%d days', {days} - 1 - day))"
    )
    with platform.database.transaction() as transaction:
        transaction.execute(
            f"""
            INSERT INTO syncs (
                organization_id, connected_integration_id, stream, sync_id, ordinal, status,
                attempts, fetched, staged, "unique", unchanged, latest, certificate, reasons,
                version, error, retryable, started_at, finished_at, seconds_extract, seconds_stage
            )
            SELECT
                organization_id, id, 'users', printf('daily-%03d', day), day + 1,
                iif(failed, 'failed', 'unchanged'), 1, {USERS_EACH}, {USERS_EACH}, {USERS_EACH},
                {USERS_EACH}, {USERS_EACH}, '{{}}', '[]', day + 1,
                iif(failed, organization_id || ':' || id || ': cannot reach the provider', NULL),
                failed, {began}, {began}, 0.02, 0.03
            FROM (
                SELECT *, day = {days - 1} AND place % 100 = 1 AS failed
                FROM (
                    SELECT *, row_number() OVER (ORDER BY organization_id, id) AS place
                    FROM connected_integrations
                )
                CROSS JOIN (
                    WITH RECURSIVE days (day) AS (
                        SELECT 0 UNION ALL SELECT day + 1 FROM days WHERE day + 1 < {days}
                    )
                    SELECT day FROM days
                )
            )
            """
        )
        transaction.execute(
            """
            INSERT INTO integration_versions (
                organization_id, connected_integration_id, stream, version, ordinal, sync_id,
                settled_at, full_at
            )
            SELECT
                organization_id, connected_integration_id, stream, max(version), max(ordinal),
                max(sync_id), max(finished_at), max(started_at)
            FROM syncs
            WHERE status = 'unchanged'
            GROUP BY organization_id, connected_integration_id, stream
            """
        )


def _materialize(instance: dg.DagsterInstance, refs: Sequence[IntegrationRef]) -> None:
    """Report one sync of every integration as materializations of the latest table."""
    for ref in refs:
        outcome = Outcome(
            partition=ref.partition_key,
            stream=USERS.name,
            sync_id="daily-000",
            status=Status.APPLIED,
            counts=Counts(fetched=USERS_EACH, staged=USERS_EACH, latest=USERS_EACH),
        )
        for event in materializations(USERS, outcome, [Stage.LATEST]):
            instance.report_runless_asset_event(event)
