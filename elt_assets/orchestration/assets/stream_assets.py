"""The assets of a stream: one computation that brings its three tables up to date.

It translates a run (partition keys, selected tables, tags) into calls of the engine.
"""

# Dagster reads the annotations of decorated functions as they are, so nothing is postponed.
# ruff: noqa: I002

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import dagster as dg
from pydantic import Field

from elt_assets.errors import EltAssetsError, InvalidInput, SyncError
from elt_assets.identifiers import IntegrationRef, checked_name
from elt_assets.orchestration import names
from elt_assets.orchestration.assets.live_progress import LiveProgress, reporter
from elt_assets.orchestration.assets.run_budget import CONTINUES_TAG, run_time
from elt_assets.orchestration.assets.run_report import RunReport, RunWork
from elt_assets.orchestration.assets.step_retries import ended_by_interruption
from elt_assets.orchestration.assets.table_specs import table_specs
from elt_assets.orchestration.mode_choice import ModeChoice
from elt_assets.orchestration.names import SYNC_ID_TAG
from elt_assets.orchestration.placement import STANDALONE, Placement
from elt_assets.orchestration.resources import NO_LISTENER, RunListener
from elt_assets.sync.outcome import Outcome, Stage, Status, SyncProgress
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import Stream
from elt_assets.sync.sync_request import RunControl
from elt_assets.sync.workload import in_turn, loads
from elt_assets.telemetry import tracing

T = TypeVar("T")

# A range of any length is one run: `dagster asset materialize --partition-range` requires it,
# and the daemon then turns a backfill into one run for each contiguous range.
RANGES = dg.BackfillPolicy.single_run()

# Page fetches and store writes have their own retries before these.
TRANSIENT = dg.RetryPolicy(
    max_retries=2, delay=1.0, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS
)


class SyncConfig(dg.Config):
    """The configuration of one run; everything else comes from settings and the registry.

    The launchpad shows the fields that have a default. `elt-assets start` has the same names.
    """

    sync_id: str = Field(
        default="",
        description="Name of the sync, such as monday; the name of an earlier one continues it. "
        "A new sync when empty.",
    )
    mode: ModeChoice = Field(
        default=ModeChoice.configured,
        description="full reads everything, incremental only changes; configured leaves it to each "
        "integration's configuration.",
    )
    num_batches: int = Field(
        default=0,
        ge=0,
        description="Checkpoints after which an extraction stops early, for trials; it then "
        "deletes nothing. 0: only the limits of the settings.",
    )
    only_unsettled: bool = Field(
        default=False,
        description="Sync only integrations whose newest sync has not settled, and only report the "
        "others: for a range in which some failed.",
    )
    batch_size: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="Pages in one checkpoint; from settings when unset.",
    )


def step_name(stream: Stream, at: Placement = STANDALONE) -> str:
    """The name of the step behind a stream's assets, as in run configuration."""
    return at.step(names.step_name(stream))


def stream_assets(
    stream: Stream, at: Placement = STANDALONE, listener: RunListener = NO_LISTENER
) -> dg.AssetsDefinition:
    """The assets `<stream>_staging` → `<stream>_cdc` → `<stream>_latest`."""

    @dg.multi_asset(
        name=step_name(stream, at),
        description=f"Bring {stream.name} of every integration of the run up to date.",
        specs=table_specs(stream, at),
        partitions_def=at.integrations,
        backfill_policy=RANGES,
        can_subset=True,
        retry_policy=at.retries_or(TRANSIENT),
        required_resource_keys=at.required,
    )
    def sync(
        context: dg.AssetExecutionContext,
        config: SyncConfig,
    ) -> Iterator[dg.AssetMaterialization]:
        """Bring every integration of this run up to date; fail at the end if any failed."""
        platform = at.platform(context)
        selected = [
            stage for stage in Stage if at.table(stream, stage) in context.selected_asset_keys
        ]
        time = _or_fail(lambda: run_time(context, platform.settings))
        work = RunWork(stream, selected, platform, listener, at)
        report = RunReport(context, work, time)
        facts = {"run_id": context.run.run_id, "attempt": context.retry_number + 1}
        with (
            ended_by_interruption(context),
            tracing.traced(platform.settings.tracing_endpoint),
            tracing.span("run", stream=stream.name, **facts),
        ):
            for outcome in _sync_run(context, config, work, report):
                yield from report.events(outcome)
            report.end()

    return sync


def sync_id_of(run: dg.DagsterRun) -> str:
    """The sync that a run works on: its tag, else the id of its root run.

    A re-executed run has the root run of the original and so continues its sync.
    """
    return checked_name(
        run.tags.get(SYNC_ID_TAG) or run.root_run_id or run.run_id, f"run tag {SYNC_ID_TAG}"
    )


def _sync_run(
    context: dg.AssetExecutionContext,
    config: SyncConfig,
    work: RunWork,
    report: RunReport,
) -> Iterator[Outcome]:
    """Sync the run's integrations up to the selected stage; an invalid key is a failed outcome."""
    stream, selected, platform = work.stream, work.selected, work.platform
    sync_id = _or_fail(lambda: _chosen_sync_id(context, config))
    # A new run without staging continues the extraction that is already there.
    named = config.sync_id or _names_its_sync(context.run)
    continues = Stage.STAGING not in selected and not named
    log = LiveProgress(reporter(context))

    def progress(report: SyncProgress) -> None:
        log.heard(report)
        work.listener.progress(report)

    refs: dict[str, list[IntegrationRef]] = {}
    for key in _in_turn(context, stream, platform):
        try:
            ref = IntegrationRef.parse(key)
            # If the newest sync has settled, there is nothing to continue either.
            if (continues or config.only_unsettled) and (settled := platform.settled(stream, ref)):
                yield settled
                continue
            found = _staged_sync_id(platform, stream, ref) if continues else sync_id
        except EltAssetsError as error:
            yield Outcome(
                partition=key,
                stream=stream.name,
                sync_id=sync_id,
                status=Status.FAILED,
                error=str(error),
                retryable=isinstance(error, SyncError) and error.retryable,
            )
        else:
            refs.setdefault(found, []).append(ref)
    if continues and len(refs) == 1:
        # With the tag, clients find this run among the runs of the sync.
        context.instance.add_run_tags(context.run.run_id, {SYNC_ID_TAG: next(iter(refs))})
    for found, together in refs.items():
        yield from log.followed(
            platform.sync(
                stream,
                together,
                sync_id=found,
                control=RunControl(log.write, report.time.remains, report.left),
                run_id=context.run.run_id,
                until=selected[-1],
                mode=config.mode.mode,
                pages_per_batch=config.batch_size,
                max_batches=config.num_batches or None,
                progress=progress,
            )
        )


def _chosen_sync_id(context: dg.AssetExecutionContext, config: SyncConfig) -> str:
    """The sync that the configuration names, else that of the run.

    The run gets the tag of a configured name, by which clients and sensors find it.
    """
    if not config.sync_id:
        return sync_id_of(context.run)
    chosen = checked_name(config.sync_id, "sync id")
    context.instance.add_run_tags(context.run.run_id, {SYNC_ID_TAG: chosen})
    return chosen


def _or_fail(read: Callable[[], T]) -> T:
    """The result of `read`; invalid input fails the run without a retry."""
    try:
        return read()
    except InvalidInput as error:
        raise dg.Failure(str(error), allow_retries=False) from None


def _in_turn(
    context: dg.AssetExecutionContext, stream: Stream, platform: SyncService
) -> Sequence[str]:
    """The run's partitions in the order in which they start; unregistered ones come last."""
    keys = _partition_keys(context)
    if len(keys) == 1:
        return keys
    known = loads(platform, stream)
    taken_over = CONTINUES_TAG in context.run.tags
    order = in_turn([known[key] for key in keys if key in known], longest_waiting_first=taken_over)
    return [*(load.partition for load in order), *(key for key in keys if key not in known)]


def _partition_keys(context: dg.AssetExecutionContext) -> Sequence[str]:
    """The run's partition, or every partition of its range."""
    if not context.has_partition_key and not context.has_partition_key_range:
        raise dg.Failure(
            "this run names no integration: choose a partition or a range of partitions",
            allow_retries=False,
        )
    keys: Sequence[str] = context.partition_keys
    return keys


def _names_its_sync(run: dg.DagsterRun) -> bool:
    return SYNC_ID_TAG in run.tags or run.root_run_id is not None


def _staged_sync_id(platform: SyncService, stream: Stream, ref: IntegrationRef) -> str:
    found = platform.unfinished_sync_id(stream, ref)
    if found is None:
        raise InvalidInput(
            f"{ref}: no unfinished sync to continue; materialize {stream.staging} first, or "
            "together with the others"
        )
    return found
