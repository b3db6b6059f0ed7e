"""The health report: what is wrong now, each problem in one line that says what to do.

`ready` depends on what the platform needs to work. Problems of single integrations make the report
fail, too, because a person must act, but they leave `ready` true: a restart would not help.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from elt_assets.config.addresses import BrokerAddress
from elt_assets.config.settings import Settings
from elt_assets.errors import DatabaseBusy, EltAssetsError
from elt_assets.errors.foreign_text import inert
from elt_assets.feed.status import feed_status
from elt_assets.monitoring.broker_check import check_broker, listening_workers
from elt_assets.orchestration.alerts.feed_issues import cause
from elt_assets.orchestration.alerts.issues import grouped, open_issues
from elt_assets.storage.from_settings import operational_database, warehouses
from elt_assets.sync.admin.completeness import needs_a_person
from elt_assets.sync.clock import now
from elt_assets.sync.service import SyncService
from elt_assets.sync.state.listings import SettledListing
from elt_assets.sync.state.store_tables import warehouse_layout

if TYPE_CHECKING:
    from elt_assets.client.run_queue import RunQueue
    from elt_assets.client.web_server import Server

_LISTED = 10
_LONGEST = 4_000
_BUSY_WAIT = 2.0


class Check(msgspec.Struct, frozen=True):
    """One check and its result; the platform cannot work if a `needed` check fails."""

    name: str
    ok: bool
    detail: str
    needed: bool = True
    sample: tuple[str, ...] = ()


class HealthReport(msgspec.Struct, frozen=True):
    """All checks at one moment."""

    at: str
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing needs a person."""
        return all(check.ok for check in self.checks)

    @property
    def ready(self) -> bool:
        """Whether the platform can work."""
        return all(check.ok for check in self.checks if check.needed)

    def as_json(self) -> dict[str, object]:
        """The documented shape of `/health` and `health --json`."""
        return {
            "status": "ok" if self.ok else "failing",
            "ready": self.ready,
            "at": self.at,
            "reasons": [
                f"{check.name}: {inert(check.detail, _LONGEST)}"
                for check in self.checks
                if not check.ok
            ],
            "checks": [
                {
                    "name": check.name,
                    "status": "ok" if check.ok else "failing",
                    "detail": inert(check.detail, _LONGEST),
                    "needed": check.needed,
                    "sample": list(check.sample),
                }
                for check in self.checks
            ],
        }


@contextmanager
def opened(settings: Settings) -> Iterator[SyncService]:
    """The platform for one report, with short waits for locks.

    It is opened each time, so that a database that was restored or lost is reported correctly.
    """
    database = operational_database(settings, attempts=1, wait=_BUSY_WAIT)
    opened = warehouses(settings.model_copy(update={"lock_wait": 0.0}), warehouse_layout())
    try:
        yield SyncService(settings, database, opened)
    finally:
        opened.close()
        database.close()


def report(
    settings: Settings, server: Server | None = None, *, brief: bool = False
) -> HealthReport:
    """Check everything; with `brief` only what the platform needs to work.

    Without a server, web server, code location and daemon are not checked.
    """
    checks: list[Check] = [disk(settings), warehouse(settings)]
    try:
        with opened(settings) as platform:
            with platform.database.transaction("health") as transaction:
                # Opening alone writes nothing if the schema is up to date.
                transaction.execute("UPDATE syncs SET status = status WHERE 1 = 0")
            checks.append(Check("operational database", True, "reads and writes"))
            if not brief:
                checks += [*_integrations(platform)]
    except DatabaseBusy:
        checks.append(Check("operational database", True, "busy: another process is writing"))
    except EltAssetsError as error:
        checks.append(Check("operational database", False, str(error)))
    if server is not None:
        checks += _server(server)
        if settings.broker_address is not None and not brief:
            checks.append(workers(settings.broker_address))
    return HealthReport(now(), tuple(checks))


def disk(settings: Settings) -> Check:
    """Whether there is free space under the home folder."""
    place = settings.home
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free // 2**20
    wanted = settings.min_free_mb
    detail = f"{free:,} MB free under {settings.home}"
    if free >= wanted:
        return Check("disk", True, detail)
    return Check("disk", False, f"{detail}, less than {wanted:,} MB: free or add disk space")


def warehouse(settings: Settings) -> Check:
    """Whether the warehouses can be written."""
    opened = warehouses(settings, warehouse_layout())
    try:
        return Check("warehouse", True, opened.inspect())
    except EltAssetsError as error:
        return Check("warehouse", False, str(error))
    finally:
        opened.close()


def workers(address: BrokerAddress) -> Check:
    """Check that workers are connected; not `needed`, because a restart would not help."""
    try:
        broker, listening = check_broker(address), listening_workers()
    except EltAssetsError as error:
        return Check("broker", False, str(error), needed=False)
    slots = ", ".join(f"{name} ({slots} at once)" for name, slots in listening.items())
    return Check(
        "broker",
        bool(listening),
        f"{broker}; {slots or 'no worker is connected: start one with `elt-assets worker`'}",
        needed=False,
    )


def _integrations(platform: SyncService) -> Iterator[Check]:
    """Problems of integrations, one line for each cause."""
    issues = open_issues(platform)
    alerts = grouped(issues.open)
    for kind, fine in (("failure", "no sync needs a person"), ("quarantine", "none is open")):
        found = [alert for alert in alerts if alert.kind == kind]
        yield Check(
            {"failure": "syncs", "quarantine": "quarantines"}[kind],
            not found,
            "; ".join(alert.text for alert in found[:_LISTED]) or fine,
            needed=False,
            sample=tuple(name for alert in found for name in alert.partitions)[:_LISTED],
        )
    yield _listings(
        issues.incomplete, [alert.text for alert in alerts if alert.kind == "incomplete"]
    )
    yield _feed(platform)
    late = issues.late
    names = tuple(dict.fromkeys(one.partition for one in late))
    yield Check(
        "freshness",
        not late,
        f"{len(names):,} integrations are not up to date; the oldest is {names[0]}, "
        f"since {late[0].since}"
        if late
        else "every enabled integration is up to date",
        needed=False,
        sample=names[:_LISTED],
    )


def _feed(platform: SyncService) -> Check:
    """Whether a consumer of the change feed needs a person."""
    consumers = feed_status(platform.database, platform.settings.keep_feed_bytes).consumers
    failing = [one for one in consumers if not one.ok]
    return Check(
        "feed",
        not failing,
        "; ".join(f"{one.name}: {cause(one)}" for one in failing[:_LISTED])
        or f"none of {len(consumers):,} consumers waits for a person",
        needed=False,
        sample=tuple(one.name for one in failing)[:_LISTED],
    )


def _listings(found: Iterable[SettledListing], alerts: Sequence[str]) -> Check:
    """Count incomplete listings; the check fails if `alerts` report one that needs a person."""
    # Those that need a person are named first.
    incomplete = sorted(found, key=needs_a_person, reverse=True)
    if not incomplete:
        return Check("listings", True, "every newest listing is complete", needed=False)
    first = incomplete[0]
    return Check(
        "listings",
        not alerts,
        "; ".join(alerts[:_LISTED])
        or f"{len(incomplete):,} listings are not complete, and none needs a person; for example "
        f"{first.partition} {first.stream}: {first.why}",
        needed=False,
        sample=tuple(dict.fromkeys(one.partition for one in incomplete))[:_LISTED],
    )


def _server(server: Server) -> Sequence[Check]:
    try:
        queue, broken = server.queue(), server.broken_locations()
    except EltAssetsError as error:
        return (Check("web server", False, str(error)),)
    return (
        Check("web server", True, "answers"),
        Check(
            "code location",
            not broken,
            "; ".join(f"{name} does not load: {error}" for name, error in broken.items())
            or "loads",
        ),
        _daemon(queue),
    )


def _daemon(queue: RunQueue) -> Check:
    # Imported here: a report about the stores alone does not need Dagster.
    from elt_assets.client.run_queue import HEARTBEAT_TOLERANCE

    gone = [daemon.name.lower() for daemon in queue.daemons if not daemon.alive]
    if not gone:
        return Check("daemon", True, "every part sends heartbeats")
    return Check(
        "daemon",
        False,
        f"no heartbeat for {HEARTBEAT_TOLERANCE:.0f} s from {', '.join(gone)}: schedules, sensors "
        "and queued runs do not start; start the daemon with `elt-assets dev`",
        sample=tuple(gone),
    )
