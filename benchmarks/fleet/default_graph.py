"""The same tables as a Dagster project has them by default: one asset and one step each.

These are definitions for `dagster asset materialize` with Dagster's default executor. They call the
platform's own sync engine.
"""

# Dagster reads the annotations of decorated functions as they are, so nothing is postponed.
# ruff: noqa: I002

import dagster as dg

from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.outcome import Stage
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import USERS


def _keys() -> list[str]:
    with SyncService.open() as platform:
        return [entry.ref.partition_key for entry in platform.registry.all()]


partitions = dg.StaticPartitionsDefinition(_keys())


def _sync(context: dg.AssetExecutionContext, until: Stage) -> None:
    ref = IntegrationRef.parse(context.partition_key)
    with SyncService.open() as platform:
        for outcome in platform.sync(USERS, [ref], sync_id=context.run.run_id, until=until):
            if outcome.error:
                raise dg.Failure(outcome.error)


@dg.asset(partitions_def=partitions)
def users_staging(context: dg.AssetExecutionContext) -> None:
    """Fetch and stage."""
    _sync(context, Stage.STAGING)


@dg.asset(partitions_def=partitions, deps=[users_staging])
def users_cdc(context: dg.AssetExecutionContext) -> None:
    """Find what changed."""
    _sync(context, Stage.CDC)


@dg.asset(partitions_def=partitions, deps=[users_cdc])
def users_latest(context: dg.AssetExecutionContext) -> None:
    """Apply the changes."""
    _sync(context, Stage.LATEST)


definitions = dg.Definitions([users_staging, users_cdc, users_latest])
