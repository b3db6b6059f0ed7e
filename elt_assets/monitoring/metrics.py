"""Prometheus metrics, read from the ledger and the server for each scrape.

No label names an integration or an organization: ten thousand of them would be ten thousand series,
and the monitoring system would have their names.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from elt_assets.client.web_server import Server
from elt_assets.config.settings import Settings
from elt_assets.errors import EltAssetsError
from elt_assets.feed.status import feed_status
from elt_assets.monitoring.health_report import opened
from elt_assets.sync.admin.completeness import incomplete_listings
from elt_assets.sync.admin.freshness import freshness
from elt_assets.sync.clock import seconds_since
from elt_assets.sync.outcome import Status
from elt_assets.sync.service import SyncService
from elt_assets.sync.state.ledger import STAGES
from elt_assets.sync.streams import STREAMS, Stream

_KEPT_SECONDS = 10.0
"""How long metrics are cached, so that two monitors do not read the ledger twice."""

_LAGS = (900, 3600, 6 * 3600, 26 * 3600, 48 * 3600, 7 * 86400)
_DURATIONS = (1, 5, 15, 60, 300, 900, 3600, 4 * 3600)
_PREFIX = "elt_assets"


class FleetCollector(Collector):
    """Reads the metrics for every scrape, at most every few seconds."""

    def __init__(self, settings: Settings, server: Server | None = None) -> None:
        self._settings = settings
        self._server = server
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._metrics: list[Metric] = []

    def collect(self) -> Iterable[Metric]:
        """All metrics; if a source does not answer, only its metrics are missing."""
        with self._lock:
            if time.monotonic() - self._read_at > _KEPT_SECONDS:
                self._metrics = _merged(self._read())
                self._read_at = time.monotonic()
            return self._metrics

    def _read(self) -> Iterator[Metric]:
        yield InfoMetricFamily(
            _PREFIX, "The running release.", value={"version": version("elt-assets")}
        )
        up = _gauge("source_up", "Whether a source of these metrics answered.", ["source"])
        try:
            with opened(self._settings) as platform:
                yield from _of_ledger(platform)
            up.add_metric(["ledger"], 1)
        except EltAssetsError:
            up.add_metric(["ledger"], 0)
        if self._server is not None:
            try:
                yield from _of_server(self._server)
                up.add_metric(["web_server"], 1)
            except EltAssetsError:
                up.add_metric(["web_server"], 0)
        yield up


def exposition(collector: FleetCollector) -> bytes:
    """The metrics in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    return generate_latest(registry)


def _merged(metrics: Iterable[Metric]) -> list[Metric]:
    """One metric for each name, with the samples of every stream."""
    by_name: dict[str, Metric] = {}
    for metric in metrics:
        if metric.name in by_name:
            by_name[metric.name].samples += metric.samples
        else:
            by_name[metric.name] = metric
    return list(by_name.values())


def _of_ledger(platform: SyncService) -> Iterator[Metric]:
    integrations = _gauge(
        "integrations", "Integrations by kind of provider.", ["provider", "enabled"]
    )
    kinds = Counter((one.provider, one.enabled) for one in platform.registry.all())
    for (provider, enabled), count in sorted(kinds.items()):
        integrations.add_metric([provider, str(enabled).lower()], count)
    yield integrations
    for stream in STREAMS.values():
        yield from _of_stream(platform, stream)
    yield from _of_feed(platform)


def _of_feed(platform: SyncService) -> Iterator[Metric]:
    """Metrics of the change feed; the lag of each kind is that of its slowest consumer, unnamed."""
    status = feed_status(platform.database, platform.settings.keep_feed_bytes)
    kept = _gauge("feed_entries", "Entries of the change feed that are kept.", [])
    kept.add_metric([], status.entries)
    yield kept
    taken = _gauge("feed_bytes", "Bytes of these entries in the operational database.", [])
    taken.add_metric([], status.bytes)
    yield taken
    states = _gauge("feed_consumers", "Consumers of the change feed.", ["kind", "state"])
    for (kind, state), count in sorted(
        Counter((c.kind, c.state) for c in status.consumers).items()
    ):
        states.add_metric([kind, state], count)
    yield states
    entries = _gauge("feed_lag_entries", "Entries that the slowest consumer lacks.", ["kind"])
    seconds = _gauge("feed_lag_seconds", "Age of the oldest entry that a consumer lacks.", ["kind"])
    for kind in sorted({one.kind for one in status.consumers}):
        lags = [one for one in status.consumers if one.kind == kind]
        entries.add_metric([kind], max(one.entries for one in lags))
        seconds.add_metric([kind], max(one.seconds for one in lags))
    yield entries
    yield seconds


def _of_stream(platform: SyncService, stream: Stream) -> Iterator[Metric]:
    name = stream.name
    rows = platform.database.rows(
        """
        SELECT
            status,
            count(*) AS syncs,
            CAST(sum(inserts) AS BIGINT) AS inserts,
            CAST(sum(updates) AS BIGINT) AS updates,
            CAST(sum(deletes) AS BIGINT) AS deletes,
            CAST(sum(requests) AS BIGINT) AS requests,
            CAST(sum(fetched) AS BIGINT) AS fetched,
            CAST(sum(rejected) AS BIGINT) AS rejected,
            CAST(sum(attempts - 1) AS BIGINT) AS retries,
            sum(seconds_extract) AS extract,
            sum(seconds_stage) AS stage,
            sum(seconds_detect) AS detect,
            sum(seconds_apply) AS apply
        FROM syncs
        WHERE stream = ?
        GROUP BY status
        """,
        (name,),
    )
    by_status = {row["status"]: row for row in rows}
    syncs = _gauge("syncs", "Syncs in the ledger by status.", ["stream", "status"])
    for status in Status:
        syncs.add_metric([name, status], by_status.get(status, {}).get("syncs", 0))
    yield syncs
    settled = [row for status, row in by_status.items() if Status(status).settled]
    changes = _counter("changes", "Records changed in the latest table.", ["stream", "change"])
    for change in ("inserts", "updates", "deletes"):
        changes.add_metric([name, change.removesuffix("s")], sum(row[change] for row in settled))
    yield changes
    for metric, column, text in (
        ("requests", "requests", "Requests sent to providers."),
        ("fetched_records", "fetched", "Records that providers delivered."),
        ("rejected_records", "rejected", "Records that could not be used."),
        ("retries", "retries", "Attempts after the first attempt of a sync."),
    ):
        counter = _counter(metric, text, ["stream"])
        counter.add_metric([name], sum(row[column] for row in rows))
        yield counter
    stages = _counter(
        "stage_seconds", "Seconds of work of all syncs, by stage.", ["stream", "stage"]
    )
    for stage in STAGES:
        stages.add_metric([name, stage], sum(row[stage] for row in rows))
    yield stages
    yield from _newest(platform, stream)
    yield _durations(platform, stream)
    yield from _lags(platform, stream)


def _newest(platform: SyncService, stream: Stream) -> Iterator[Metric]:
    """Metrics of each integration's newest sync."""
    newest = platform.newest_syncs(stream)
    statuses = Counter(row.status for row in newest)
    now = _gauge(
        "integrations_by_newest_sync",
        "Enabled integrations by the status of their newest sync.",
        ["stream", "status"],
    )
    for status in Status:
        now.add_metric([stream.name, status], statuses[status])
    yield now
    failing = _gauge(
        "failing_integrations",
        "Enabled integrations whose newest sync failed, by whether it is retried.",
        ["stream", "retryable"],
    )
    for retryable in (False, True):
        count = sum(row.status is Status.FAILED and row.retryable is retryable for row in newest)
        failing.add_metric([stream.name, str(retryable).lower()], count)
    yield failing
    waiting = [row for row in platform.quarantined() if row.stream == stream.name]
    quarantines = _gauge("open_quarantines", "Quarantines that wait for a decision.", ["stream"])
    quarantines.add_metric([stream.name], len(waiting))
    yield quarantines
    for change, count in (
        ("deletes", sum(row.counts.withheld_deletes for row in waiting)),
        ("updates", sum(row.counts.withheld_updates for row in waiting)),
        ("inserts", sum(row.counts.withheld_inserts for row in waiting)),
    ):
        name, text = f"withheld_{change}", f"{change.capitalize()} that wait for a decision."
        withheld = _gauge(name, text, ["stream"])
        withheld.add_metric([stream.name], count)
        yield withheld
    incomplete = _gauge("incomplete_listings", "Newest listings that are incomplete.", ["stream"])
    incomplete.add_metric([stream.name], len(incomplete_listings(platform, stream)))
    yield incomplete
    running = [seconds_since(row.started_at) for row in newest if row.status is Status.EXTRACTING]
    longest = _gauge("longest_running_sync_seconds", "Age of the oldest open sync.", ["stream"])
    longest.add_metric([stream.name], max(running, default=0))
    yield longest


def _durations(platform: SyncService, stream: Stream) -> Metric:
    columns = ", ".join(
        f"count(*) FILTER (WHERE seconds <= {bound}) AS le_{bound}" for bound in _DURATIONS
    )
    seconds = platform.database.dialect.seconds_between("started_at", "finished_at")
    (row,) = platform.database.rows(
        # The columns are constants of this module.
        f"""
        SELECT count(*) AS n, sum(seconds) AS total, {columns}
        FROM (
            SELECT {seconds} AS seconds
            FROM syncs
            WHERE stream = ? AND finished_at IS NOT NULL
        ) AS finished
        """,  # noqa: S608
        (stream.name,),
    )
    histogram = HistogramMetricFamily(
        f"{_PREFIX}_sync_duration_seconds",
        "From a sync's beginning to its settlement or last failure, waits included.",
        labels=["stream"],
    )
    buckets = [(str(float(bound)), row[f"le_{bound}"]) for bound in _DURATIONS]
    histogram.add_metric([stream.name], [*buckets, ("+Inf", row["n"])], row["total"] or 0.0)
    return histogram


def _lags(platform: SyncService, stream: Stream) -> Iterator[Metric]:
    fresh = freshness(platform, stream)
    ages = [one.age() for one in fresh]
    lag = HistogramMetricFamily(
        f"{_PREFIX}_lag_seconds",
        "Enabled integrations by the time since they were last brought up to date.",
        labels=["stream"],
    )
    buckets = [(str(float(bound)), float(sum(age <= bound for age in ages))) for bound in _LAGS]
    lag.add_metric([stream.name], [*buckets, ("+Inf", len(ages))], sum(ages))
    yield lag
    oldest = _gauge(
        "oldest_lag_seconds",
        "The longest time since an integration was brought up to date.",
        ["stream"],
    )
    oldest.add_metric([stream.name], max(ages, default=0))
    yield oldest
    overdue = _gauge(
        "overdue_integrations", "Integrations not brought up to date in time.", ["stream"]
    )
    overdue.add_metric([stream.name], sum(one.overdue for one in fresh))
    yield overdue
    records = _gauge(
        "latest_records",
        "Rows of the latest table as of each integration's newest settled sync.",
        ["stream", "provider"],
    )
    sums: Counter[str] = Counter()
    for one in fresh:
        sums[one.provider] += one.records
    for provider, count in sorted(sums.items()):
        records.add_metric([stream.name, provider], count)
    yield records


def _of_server(server: Server) -> Iterator[Metric]:
    queue = server.queue()
    runs = _gauge("runs", "Dagster runs that have not ended.", ["state"])
    runs.add_metric(["queued"], queue.queued)
    runs.add_metric(["running"], queue.running)
    yield runs
    if queue.limit is not None:
        limit = _gauge("runs_limit", "Runs that may run at once.", [])
        limit.add_metric([], queue.limit)
        yield limit
    pools = _gauge("pool_slots", "Slots of concurrency pools.", ["pool", "state"])
    for pool in queue.pools:
        pools.add_metric([pool.name, "all"], pool.slots)
        pools.add_metric([pool.name, "taken"], pool.taken)
        pools.add_metric([pool.name, "waited_for"], pool.waiting)
    yield pools
    beats = _gauge(
        "daemon_heartbeat_age_seconds",
        "Time since the last heartbeat of a part of the daemon.",
        ["daemon"],
    )
    for daemon in queue.daemons:
        if daemon.required and daemon.last_heartbeat is not None:
            beats.add_metric([daemon.name.lower()], time.time() - daemon.last_heartbeat)
    yield beats


def _gauge(name: str, text: str, labels: Sequence[str]) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{_PREFIX}_{name}", text, labels=labels)


def _counter(name: str, text: str, labels: Sequence[str]) -> CounterMetricFamily:
    return CounterMetricFamily(f"{_PREFIX}_{name}", text, labels=labels)
