"""A small fleet for tests of the Dagster layer: a directory and the integrations that read it.

A test dictates the failures of the directory server. The installation has registered integrations,
an instance and the job that syncs them.
"""

from __future__ import annotations

import json
import threading
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import dagster as dg
import pytest

from elt_assets.config.settings import Settings, load_settings
from elt_assets.definitions import assembled
from elt_assets.identifiers import IntegrationRef
from elt_assets.orchestration.assets.table_specs import asset_key
from elt_assets.orchestration.instance.opening import open_instance
from elt_assets.orchestration.names import PARTITIONS
from elt_assets.orchestration.partitions import (
    add_partition_keys,
    partition_tags,
)
from elt_assets.orchestration.placement import STANDALONE
from elt_assets.orchestration.resources import NO_LISTENER, RunListener
from elt_assets.sync.outcome import Stage
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import USERS, Stream

ORGANIZATION = "org-001"
TOKEN = "directory-token-of-the-tests"
PAGE = 2
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
SOON = dg.RetryPolicy(max_retries=1, delay=0)


class Directory(ThreadingHTTPServer):
    """A provider on a loopback port; `failures[integration]` are the next answers' statuses."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.people: dict[str, list[dict[str, Any]]] = {}
        self.failures: dict[str, deque[int]] = defaultdict(deque)
        self.served: dict[str, list[int]] = defaultdict(list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def provider_data(
        self, integration_id: str, streams: Sequence[str] = ("users",)
    ) -> dict[str, Any]:
        """Every one of `streams` lists the people; `failures` are those of all of them."""
        return {
            "permission_source_name": f"Directory {integration_id}",
            "api_endpoint": f"{self.url}/{integration_id}",
            "auth": {"type": "bearer", "token": {"env": "DIRECTORY_TOKEN"}},
            "streams": {
                stream: {
                    "path": f"/{stream}",
                    "records": "items",
                    "pagination": {"type": "cursor", "cursor": "next", "param": "cursor"},
                    "fields": {"external_id": "id", "name": "name", "email": "email"},
                }
                for stream in streams
            },
        }


class _Handler(BaseHTTPRequestHandler):
    server: Directory
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        integration_id = url.path.split("/")[1]
        start = int(parse_qs(url.query).get("cursor", ["0"])[0])
        failures = self.server.failures[integration_id]
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            self._answer(401, {"error": "who are you?"})
        elif failures and (status := failures.popleft()) != 200:
            self._answer(status, {"error": "as the test wishes"})
        else:
            people = self.server.people[integration_id]
            end = start + PAGE
            self.server.served[integration_id].append(start)
            self._answer(
                200,
                {"items": people[start:end], "next": str(end) if end < len(people) else None},
            )

    def _answer(self, status: int, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent."""


def person(number: int, **changed: str) -> dict[str, str]:
    return {
        "id": f"u-{number}",
        "name": f"Person {number}",
        "email": f"person-{number}@example.com",
    } | changed


@dataclass
class Fleet:
    """An installation of the test's own home, its instance and its directory."""

    settings: Settings
    platform: SyncService
    instance: dg.DagsterInstance
    directory: Directory
    refs: list[IntegrationRef] = field(default_factory=list)

    @property
    def keys(self) -> list[str]:
        return [ref.partition_key for ref in self.refs]

    def connect(
        self,
        count: int,
        *,
        users: int = 3,
        partitions: bool = True,
        streams: Sequence[str] = ("users",),
    ) -> list[str]:
        """Register `count` more integrations of `users` people, with partitions."""
        for _ in range(count):
            integration_id = f"dir-{len(self.refs):02d}"
            self.directory.people[integration_id] = [person(n) for n in range(users)]
            ref = IntegrationRef(ORGANIZATION, integration_id)
            data = self.directory.provider_data(integration_id, streams)
            self.platform.registry.add(ref, "rest", data)
            self.refs.append(ref)
        if partitions:
            add_partition_keys(self.instance, self.refs)
        return self.keys

    def definitions(self, listener: RunListener = NO_LISTENER) -> dg.Definitions:
        """The graph over this installation; a retry follows at once, and only one."""
        at = replace(STANDALONE, retry_policy=SOON)
        return assembled(at, self.platform, listener=listener)

    def run(
        self,
        keys: Sequence[str],
        *stages: Stage,
        tags: dict[str, str] | None = None,
        config: dict[str, Any] | None = None,
        listener: RunListener = NO_LISTENER,
    ) -> dg.ExecuteInProcessResult:
        """Run the sync job over the range `keys`, for `stages` alone if any are given."""
        job = self.definitions(listener).resolve_job_def("sync")
        return job.execute_in_process(
            instance=self.instance,
            tags={**partition_tags(keys), **(tags or {})},
            run_config={**QUIET, **(config or {})},
            asset_selection=[asset_key(USERS, stage) for stage in stages] or None,
            raise_on_error=False,
        )

    def status(self, stage: Stage, stream: Stream = USERS) -> dict[str, str]:
        """Dagster's colour of every partition of one table that has one."""
        found = self.instance.get_status_by_partition(
            asset_key(stream, stage),
            self.instance.get_dynamic_partitions(PARTITIONS),
            STANDALONE.integrations,
        )
        return {key: status.name for key, status in (found or {}).items() if status}

    def events(self, run_id: str) -> list[dg.AssetMaterialization]:
        """Every materialization that a run reported, in order."""
        return [
            entry.dagster_event.step_materialization_data.materialization
            for entry in self.instance.all_logs(
                run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION
            )
            if entry.dagster_event
        ]

    def observations(self, run_id: str, *, of_partitions: bool) -> list[dg.AssetObservation]:
        """What a run observed about its partitions, or about itself."""
        observed = [
            entry.dagster_event.asset_observation_data.asset_observation
            for entry in self.instance.all_logs(
                run_id, of_type=dg.DagsterEventType.ASSET_OBSERVATION
            )
            if entry.dagster_event
        ]
        return [one for one in observed if (one.partition is not None) is of_partitions]

    def names(self, key: str) -> list[str]:
        """The names in one integration's latest table."""
        return [row["name"] for row in self.platform.records(USERS, IntegrationRef.parse(key))]


@contextmanager
def opened_fleet(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """A fleet without integrations in the test's own home; tries every page once."""
    monkeypatch.setenv("DIRECTORY_TOKEN", TOKEN)
    monkeypatch.setenv("ELT_ASSETS_FETCH_ATTEMPTS", "1")
    settings = load_settings()
    with ExitStack() as stack:
        directory = stack.enter_context(Directory())
        thread = threading.Thread(target=directory.serve_forever, args=(0.01,))
        thread.start()
        stack.callback(thread.join)
        stack.callback(directory.shutdown)
        platform = stack.enter_context(SyncService.open(settings))
        instance = stack.enter_context(open_instance(settings))
        yield Fleet(settings, platform, instance, directory)
