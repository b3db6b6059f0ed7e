"""The recovery sensor: continues interrupted syncs, and integrations that a run's budget left over.

A sync continues under its old sync id, so the engine resumes from its checkpoints.
"""

# Dagster reads the annotations of decorated functions as they are, so nothing is postponed.
# ruff: noqa: I002

from collections.abc import Collection, Container, Iterable, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg
import msgspec

from elt_assets.identifiers import IntegrationRef
from elt_assets.orchestration.assets.run_budget import CONTINUES_TAG, HANDED_ON_TAG, RUN_BUDGET_TAG
from elt_assets.orchestration.assets.stream_assets import sync_id_of
from elt_assets.orchestration.jobs.sync_jobs import ENDED, NOT_ENDED, WORKER_TAG, Urgency, sync_jobs
from elt_assets.orchestration.names import PRIORITY_TAG, SYNC_ID_TAG
from elt_assets.orchestration.partitions import (
    RangeLimits,
    RangePlan,
    keys_of_run,
    partition_tags,
)
from elt_assets.orchestration.placement import STANDALONE, Placement
from elt_assets.sync.outcome import Stage, Status
from elt_assets.sync.service import SyncService
from elt_assets.sync.state.ledger import SyncRow
from elt_assets.sync.streams import STREAMS, Stream
from elt_assets.sync.workload import loads

# A run that ends writes its ledger row a moment after it closes the file.
SETTLING = timedelta(seconds=30)
LONGEST_WAIT = timedelta(hours=1)


def is_due(row: SyncRow, now: datetime) -> bool:
    """Whether to continue the interrupted sync `row` at `now`.

    A sync whose process died continues at once. A failed sync waits a minute, then two, four, and
    so on up to an hour.
    """
    if row.status is Status.EXTRACTING:
        return now - datetime.fromisoformat(row.started_at) > SETTLING
    failed_at = datetime.fromisoformat(row.finished_at or row.started_at)
    doublings = min(row.attempts - 1, 10)
    return now - failed_at > min(timedelta(minutes=2**doublings), LONGEST_WAIT)


def recovery_requests(
    plan: RangePlan,
    rows: Iterable[SyncRow],
    carried: Container[str] = (),
    at: Placement = STANDALONE,
) -> list[dg.RunRequest]:
    """Runs that continue `rows`, all of one sync of one stream; contiguous ones share a run.

    Integrations in `carried` have settled the sync and do not split a range. The run key includes
    the number of attempts, so that each attempt is continued once.
    """
    rows = list(rows)
    attempts = {row.partition: row.attempts for row in rows}
    ranges = plan.in_turn(attempts, longest_waiting_first=True, carried=carried)
    return [
        dg.RunRequest(
            run_key=f"recover/{rows[0].stream}/{rows[0].sync_id}/{keys[0]}...{keys[-1]}"
            f"/{max(attempts.get(key, 0) for key in keys)}",
            job_name=at.job(STREAMS[rows[0].stream]),
            tags={
                SYNC_ID_TAG: rows[0].sync_id,
                **Urgency.RECOVERY.tags,
                **partition_tags(keys),
            },
        )
        for keys in ranges
    ]


def taking_over(
    plan: RangePlan,
    stream: Stream,
    run: dg.DagsterRun,
    run_began_at: str,
    begun: Collection[str],
    at: Placement = STANDALONE,
) -> list[dg.RunRequest]:
    """Runs for the integrations that `run` left over; those that wait longest go first.

    Integrations that have `begun` the run's sync are left out, as are those that another sync has
    brought up to date since the run began (ISO 8601, UTC).
    """
    known = plan.loads
    left = [
        key
        for key in keys_of_run(run.tags, plan.keys)
        if key in known and key not in begun and known[key].synced_at < run_began_at
    ]
    inherited = {
        name: run.tags[name] for name in (RUN_BUDGET_TAG, PRIORITY_TAG) if name in run.tags
    }
    ranges = plan.in_turn(left, longest_waiting_first=True, carried=begun)
    return [
        dg.RunRequest(
            run_key=f"handed-on/{run.run_id}/{stream.name}/{number}",
            job_name=at.job(stream),
            tags={
                SYNC_ID_TAG: sync_id_of(run),
                CONTINUES_TAG: run.run_id,
                **inherited,
                **partition_tags(keys),
            },
        )
        for number, keys in enumerate(ranges)
    ]


def recovery_sensor(
    at: Placement = STANDALONE, *, limits: RangeLimits | None = None
) -> dg.SensorDefinition:
    """The sensor that continues interrupted syncs, up to ELT_ASSETS_MAX_RECOVERIES times each, and
    starts integrations that runs have handed on.

    Dagster alone would wait hours for a killed worker, until the run's time is over. The cursor
    holds the runs whose remaining integrations have been requested.
    """

    @at.sensor(
        "recovery_sensor",
        seconds=60,
        jobs=sync_jobs(at),
        description="Continues syncs whose process died or that failed with a retryable error, "
        "from their last checkpoint; starts integrations that a run's time budget left over.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        platform = at.platform(context)
        allowed = limits or RangeLimits.of(platform.settings)
        requests = _recoveries(context.instance, platform, allowed, at)
        seen = frozenset(msgspec.json.decode(context.cursor or "[]", type=list[str]))
        ended = _handing_on(context.instance)
        for record in ended:
            if record.dagster_run.run_id not in seen:
                requests += _takeovers(context.instance, platform, record, allowed, at)
        cursor = msgspec.json.encode(sorted(r.dagster_run.run_id for r in ended)).decode()
        if not requests and cursor == (context.cursor or "[]"):
            return dg.SkipReason("no interrupted sync is due")
        return dg.SensorResult(run_requests=requests, cursor=cursor)

    return sensor


def _recoveries(
    instance: dg.DagsterInstance, platform: SyncService, limits: RangeLimits, at: Placement
) -> list[dg.RunRequest]:
    now = datetime.now(UTC)
    by_sync: dict[tuple[str, str], list[SyncRow]] = {}
    streams = {stream.name for stream in at.streams}
    due = [row for row in platform.interrupted() if row.stream in streams and is_due(row, now)]
    with_worker = _with_worker(instance, due)
    for row in due:
        if row.run_id not in with_worker:
            by_sync.setdefault((row.stream, row.sync_id), []).append(row)
    if not by_sync:
        return []
    keys = instance.get_dynamic_partitions(at.partitions)
    plans = {
        name: RangePlan(keys, loads(platform, STREAMS[name]), limits)
        for name in {name for name, _ in by_sync}
    }
    return [
        request
        for (name, sync_id), rows in by_sync.items()
        for request in recovery_requests(
            plans[name],
            rows,
            _settled(platform, STREAMS[name], sync_id, keys) if len(rows) > 1 else (),
            at,
        )
    ]


def _with_worker(instance: dg.DagsterInstance, rows: Collection[SyncRow]) -> set[str]:
    """The runs of `rows` that have a worker; Dagster itself continues them in another worker."""
    run_ids = {row.run_id for row in rows if row.run_id is not None}
    if not run_ids:
        return set()
    runs = instance.get_runs(dg.RunsFilter(run_ids=[*run_ids], statuses=NOT_ENDED))
    return {run.run_id for run in runs if WORKER_TAG in run.tags}


def _handing_on(instance: dg.DagsterInstance) -> Sequence[dg.RunRecord]:
    """Runs of the last day that handed integrations on; the daily sync covers older runs."""
    return instance.get_run_records(
        dg.RunsFilter(
            tags={HANDED_ON_TAG: "true"},
            statuses=ENDED,
            updated_after=datetime.now(UTC) - timedelta(days=1),
        )
    )


def _takeovers(
    instance: dg.DagsterInstance,
    platform: SyncService,
    record: dg.RunRecord,
    limits: RangeLimits,
    at: Placement,
) -> list[dg.RunRequest]:
    run, sync_id = record.dagster_run, sync_id_of(record.dagster_run)
    keys = instance.get_dynamic_partitions(at.partitions)
    carried = [IntegrationRef.parse(key) for key in keys_of_run(run.tags, keys)]
    requests = []
    for stream in _streams_of(run, at):
        offering = {ref.partition_key for ref in platform.offering(stream)}
        requests += taking_over(
            RangePlan(
                keys,
                {key: load for key, load in loads(platform, stream).items() if key in offering},
                limits,
            ),
            stream,
            run,
            record.create_timestamp.astimezone(UTC).isoformat(),
            {ref.partition_key for ref in platform.standing(stream, sync_id, carried)},
            at,
        )
    return requests


def _streams_of(run: dg.DagsterRun, at: Placement) -> list[Stream]:
    """The streams that a run of a sync job, or of assets selected in the UI, syncs completely."""
    return [
        stream
        for stream in at.streams
        if run.job_name == at.job(stream)
        or {at.table(stream, stage) for stage in Stage} <= (run.asset_selection or set())
    ]


def _settled(platform: SyncService, stream: Stream, sync_id: str, keys: Sequence[str]) -> set[str]:
    refs = [IntegrationRef.parse(key) for key in keys]
    standing = platform.standing(stream, sync_id, refs)
    return {ref.partition_key for ref, status in standing.items() if status.settled}
