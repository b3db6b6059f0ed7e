"""Small builders for tests of events: a provider that lists events of a day, and export files.

The module also reads what a user would see.
"""

from __future__ import annotations

import gzip
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

from elt_assets.config.settings import load_settings
from elt_assets.identifiers import IntegrationRef
from elt_assets.signin_events.pipeline import EventPipeline
from elt_assets.signin_events.results import EventSource, Loaded
from elt_assets.sync.service import SyncService
from elt_assets_tests.connectors.serving import Asked, Provider, Reply, as_json

ACME = IntegrationRef("acme", "main")
DAY = date(2026, 1, 5)
EVE = DAY - timedelta(days=1)
HEADER = (
    "event_id,organization_id,integration_id,user_external_id,occurred_at,result,country,ip,"
    "application,user_agent,op"
)
FIELDS = {
    "event_id": "id",
    "occurred_at": "at",
    "user_external_id": "actor.id",
    "result": "result",
    "country": "country",
    "application": "application",
    "source_updated_at": "recorded",
    "deleted": "gone",
}


def event(number: int, at: str = f"{DAY}T10:00:00Z", **changes: Any) -> dict[str, Any]:
    """An event as a provider lists it; its listing is that of the moment it was recorded."""
    return {
        "id": f"e-{number}",
        "at": at,
        "recorded": at,
        "actor": {"id": f"u-{number}"},
        "result": "success",
        "country": "DE",
        "application": "mail",
    } | changes


def line(event_id: str, at: str = f"{DAY}T11:00:00Z", **changes: str) -> str:
    """A line of an export file."""
    values = {
        "event_id": event_id,
        "organization_id": "acme",
        "integration_id": "",
        "user_external_id": "u-1",
        "occurred_at": at,
        "result": "success",
        "country": "FR",
        "ip": "10.0.0.1",
        "application": "files",
        "user_agent": "Mozilla",
        "op": "",
    } | changes
    return ",".join(values.values())


class Tenant:
    """A platform, a provider that serves `listed` events two a page, and a folder of files.

    `failing` answers these statuses, by number of the request, instead of a page.
    """

    def __init__(self, home: Path, **settings: object) -> None:
        self.listed: list[Any] = []
        self.failing: dict[int, int] = {}
        self.total: int | None = None
        self.provider = Provider(self._answer)
        options = {"fetch_attempts": 1, "fetch_first_wait": 0, "pages_per_batch": 1}
        quick = {"events_settle_seconds": 0, "lock_wait": 5, "events_lock_wait": 5}
        self.platform = SyncService.open(load_settings(home=home, **options | quick | settings))
        self.events = EventPipeline(self.platform)

    def __enter__(self) -> Tenant:
        self.provider.__enter__()
        self.connect(ACME)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.events.close()
        self.platform.close()
        self.provider.__exit__(kind, error, trace)

    def connect(self, ref: IntegrationRef, **fields: str) -> None:
        """Register an integration that offers events."""
        self.platform.registry.add(ref, "rest", self.provider_data(**fields))

    def provider_data(self, **fields: str) -> dict[str, Any]:
        """What it is registered with; `fields` differ."""
        return {
            "api_endpoint": self.provider.url,
            "streams": {
                "signin_events": {
                    "path": "/events",
                    "params": {"from": "{from}", "to": "{to}"},
                    "records": "items",
                    "total": "total",
                    "pagination": {"type": "cursor", "cursor": "next", "param": "cursor"},
                    "fields": FIELDS | fields,
                }
            },
        }

    def file(self, name: str, *lines: str, day: date = DAY, header: str = HEADER) -> Path:
        """Write an export file of the day."""
        folder = self.platform.settings.events_folder / day.isoformat()
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / name
        content = "".join(f"{text}\n" for text in ((header, *lines) if header else lines)).encode()
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return path

    def run(self, day: date = DAY) -> Loaded:
        """Everything for one day, from both sources to the summary."""
        for result in (*self.events.extract_api(day), *self.events.extract_files(day)):
            assert result.error is None, result.error
        for source in EventSource:
            self.events.normalize(source, day)
        loaded = self.events.load(day)
        for touched in loaded.days:
            self.events.summarize(touched)
        return loaded

    def table(self, day: date | None = None) -> dict[str, dict[str, Any]]:
        """The loaded events by id."""
        rows = self.events.reports.events(day=day, limit=None)
        assert len({row["event_id"] for row in rows}) == len(rows)
        return {row["event_id"]: row for row in rows}

    def letters(self) -> list[tuple[str | None, int | None, str]]:
        """File, line and reason of every dead letter."""
        return [(row["file"], row["line"], row["reason"]) for row in self.events.reports.rejected()]

    def _answer(self, asked: Asked) -> Reply:
        if asked.number in self.failing:
            return Reply(status=self.failing[asked.number])
        begin, end = (_moment(asked.query[name]) for name in ("from", "to"))
        due = [one for one in self.listed if begin <= _moment(_recorded(one, begin)) < end]
        at = int(asked.query.get("cursor", 0))
        following = at + 2 if at + 2 < len(due) else None
        total = len(due) if self.total is None else self.total
        return as_json({"items": due[at : at + 2], "next": following, "total": total})


def _recorded(one: Any, otherwise: datetime) -> str:
    return one["recorded"] if isinstance(one, dict) else otherwise.isoformat()


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
