"""One provider for each kind of API, connected by YAML alone and continued from every page."""

from __future__ import annotations

import csv
import gzip
import io
import json
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from elt_assets.config.secret_refs import Secrets
from elt_assets.config.settings import load_settings
from elt_assets.connectors import catalog
from elt_assets.connectors.limits import FetchLimits
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import USERS
from elt_assets_tests.connectors.serving import Asked, Provider, Reply, as_json

REF = IntegrationRef("acme", "main")
COUNT = 23
SIZE = 5
PEOPLE = [
    {
        "id": f"u{number:02d}",
        "name": f"Ada {number}",
        "email": f"ada{number}@example.com",
        "active": number != 3,
    }
    for number in range(COUNT)
]


@dataclass(frozen=True)
class Kind:
    """The YAML of one stream, and a provider that it reads."""

    stream: str
    answer: Callable[[Asked, str], Reply]


def sliced(start: int, size: int = SIZE) -> list[dict[str, Any]]:
    return PEOPLE[start : start + size]


def posted(asked: Asked, _: str) -> Reply:
    sent = json.loads(asked.body)
    assert (asked.method, asked.path, sent["select"]) == ("POST", "/people/search", ["id", "name"])
    start = int(sent["paging"].get("after") or 0)
    more = start + SIZE < COUNT
    paging = {"next": str(start + SIZE)} if more else {}
    return as_json({"results": sliced(start), "paging": paging})


def continued(asked: Asked, _: str) -> Reply:
    """The first page at one path, and those after it at another that takes the token alone."""
    sent, first = json.loads(asked.body), asked.path == "/members/list"
    assert (first, sent) == (True, {"limit": SIZE}) or sent.keys() == {"cursor"}
    assert first or asked.path == "/members/list/continue"
    start = 0 if first else int(sent["cursor"])
    more = start + SIZE < COUNT
    return as_json({"members": sliced(start), "cursor": str(start + SIZE), "has_more": more})


def graphql(asked: Asked, _: str) -> Reply:
    after = json.loads(asked.body)["variables"].get("after")
    start = 0 if after is None else int(after)
    end = min(start + SIZE, COUNT)
    info = {"hasNextPage": end < COUNT, "endCursor": str(end)}
    return as_json({"data": {"users": {"nodes": sliced(start), "pageInfo": info}}})


def keyset(asked: Asked, _: str) -> Reply:
    after = asked.query.get("since_id", "")
    return as_json([one for one in PEOPLE if one["id"] > after][:SIZE])


def details(asked: Asked, _: str) -> Reply:
    if asked.path == "/people":
        start = int(asked.query.get("offset", 0))
        found = [{"id": one["id"], "changed": 1} for one in sliced(start)]
        return as_json({"people": found, "total": COUNT})
    key = asked.path.removeprefix("/people/")
    return as_json({"person": next(one for one in PEOPLE if one["id"] == key)})


def xml(asked: Asked, _: str) -> Reply:
    page = int(asked.query.get("page", 1))
    listed = "".join(
        f'<person id="{one["id"]}"><name>{one["name"]}</name>'
        f'<contact kind="phone">1</contact><contact kind="mail">{one["email"]}</contact>'
        f"<active>{str(one['active']).lower()}</active></person>"
        for one in sliced((page - 1) * SIZE)
    )
    text = f'<?xml version="1.0"?><directory><people>{listed}</people></directory>'
    return Reply(text.encode(), 200, {"Content-Type": "text/xml"})


def in_lines(_: str) -> bytes:
    return "".join(f"{json.dumps(one)}\n" for one in PEOPLE).encode()


def in_rows(_: str) -> bytes:
    out = io.StringIO()
    rows = csv.DictWriter(out, ["id", "name", "email", "active"])
    rows.writeheader()
    rows.writerows(PEOPLE)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("people.csv", out.getvalue())
    return archive.getvalue()


def job(file: Callable[[str], bytes]) -> Callable[[Asked, str], Reply]:
    states: dict[str, int] = {}

    def answer(asked: Asked, url: str) -> Reply:
        if asked.method == "POST":
            states[f"job-{len(states)}"] = 0
            return as_json({"job": {"id": f"job-{len(states) - 1}"}}, 202)
        if asked.path.endswith("/file"):
            return Reply(file(url), 200, {"Content-Type": "application/octet-stream"})
        name = asked.path.removeprefix("/exports/")
        states[name] += 1
        done = {"state": "done", "file": f"{url}/exports/{name}/file"}
        return as_json(done if states[name] > 1 else {"state": "running"})

    return answer


FIELDS = "{external_id: id, name: name, email: email, active: active}"
JOB = """
path: /exports
body: {type: json, content: {kind: people}}
pagination: {type: none}
job:
  id: job.id
  poll: "/exports/{job}"
  done: state == "done"
  failed: state == "failed"
  every: 1s
"""

KINDS = {
    "POST with JSON": Kind(
        f"""
        path: /people/search
        body: {{type: json, content: {{select: [id, name], paging: {{}}}}}}
        records: results
        pagination: {{type: cursor, cursor: paging.next, param: paging.after}}
        fields: {FIELDS}
        """,
        posted,
    ),
    "pages at another path than the first": Kind(
        f"""
        path: /members/list
        body: {{type: json, content: {{limit: {SIZE}}}}}
        records: members
        more: has_more
        pagination: {{type: cursor, cursor: cursor, param: cursor, path: /members/list/continue}}
        fields: {FIELDS}
        """,
        continued,
    ),
    "GraphQL": Kind(
        f"""
        path: /graphql
        body:
          type: graphql
          query: >-
            query ($after: String) {{ users(after: $after) {{ nodes {{ id name email active }}
            pageInfo {{ hasNextPage endCursor }} }} }}
        records: data.users.nodes
        more: data.users.pageInfo.hasNextPage
        pagination: {{type: cursor, cursor: data.users.pageInfo.endCursor, param: after}}
        fields: {FIELDS}
        """,
        graphql,
    ),
    "keyset": Kind(
        f"""
        path: /people
        pagination: {{type: keyset, key: id, param: since_id}}
        fields: {FIELDS}
        """,
        keyset,
    ),
    "details": Kind(
        """
        path: /people
        records: people
        total: total
        pagination: {type: offset, size: 5}
        details: {path: "/people/{external_id}", record: person, unchanged: changed}
        fields:
          external_id: id
          name: detail.name
          email: detail.email
          active: detail.active
        """,
        details,
    ),
    "XML": Kind(
        """
        path: /people
        xml: {lists: [contact]}
        records: directory.people.person
        pagination: {type: page, param: page}
        fields:
          external_id: '"@id"'
          name: name
          email: contact["@kind" == "mail"].$
          active: active
        """,
        xml,
    ),
    "job of JSON Lines in gzip": Kind(
        f'{JOB}  download: "/exports/{{job}}/file"\nfields: {FIELDS}\n',
        job(lambda url: gzip.compress(in_lines(url))),
    ),
    "job of CSV in ZIP": Kind(
        f"{JOB}  url: file\n  file: {{format: csv}}\nfields: {FIELDS}\n", job(in_rows)
    ),
}


JOBS = [name for name in KINDS if name.startswith("job")]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of a job's file as small as the pages of the others."""
    for module in ("json_file", "csv_file"):
        monkeypatch.setattr(f"elt_assets.connectors.files.{module}.RECORDS", SIZE)


@pytest.mark.parametrize("name", KINDS)
def test_a_provider_of_each_kind_needs_yaml_only(
    provider: Provider, platform: SyncService, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("TEST_TOKEN", "a-token")
    kind = KINDS[name]

    def answer(asked: Asked) -> Reply:
        if asked.headers.get("authorization") != "ID a-token":
            return as_json({}, 401)
        return kind.answer(asked, provider.url)

    provider.answer = answer
    data = {
        "api_endpoint": provider.url,
        "auth": {"type": "bearer", "token": {"env": "TEST_TOKEN"}, "scheme": "ID"},
        "rate_limit": {"concurrency": 3},
        "streams": {"users": yaml.safe_load(kind.stream)},
    }
    platform.registry.add(REF, "rest", data)
    (outcome,) = platform.sync(USERS, [REF], sync_id="first")
    assert (outcome.status, outcome.error) == ("applied", None)
    assert outcome.certificate.complete
    wanted = [(one["id"], one["name"], one["email"], one["active"]) for one in PEOPLE]
    assert wanted == sorted(
        (one["external_id"], one["name"], one["email"], one["active"])
        for one in platform.records(USERS, REF)
    )
    (outcome,) = platform.sync(USERS, [REF], sync_id="second")
    assert (outcome.status, outcome.counts.updates) == ("unchanged", 0)
    whole = pages(data, None)
    assert len(whole) > 3
    for behind, page in enumerate(whole[:-1], 1):
        assert pages(data, json.loads(json.dumps(page[1]))) == whole[behind:]


def pages(data: dict[str, Any], cursor: Any) -> list[tuple[Any, Any]]:
    """What a source yields behind a cursor: records and the next cursor, job ids left out."""
    limits = FetchLimits(
        attempts=1, first_wait=0.0, timeout=10.0, page_bytes=1 << 20, max_pages=1000
    )
    source = catalog.open_source("rest", data, "users", secrets=Secrets(), limits=limits, ref=REF)
    try:
        found = []
        for page in source.pages(cursor):
            assert page.cut_short is None
            place: Any = json.loads(page.body)
            for key in source.records:
                place = place[key]
            assert len(place) == page.count
            found.append((place, page.next))
        return found
    finally:
        source.close()


WORKER = """
import os
import signal
import sys
from pathlib import Path
from elt_assets.connectors.files import csv_file, json_file
from elt_assets.identifiers import IntegrationRef
from elt_assets.config.settings import load_settings
from elt_assets.sync.fault_injection import Faults
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import USERS

class Kill(Faults):
    def after_commit(self, batch):
        os.kill(os.getpid(), signal.SIGKILL)

csv_file.RECORDS = json_file.RECORDS = 5
with SyncService.open(load_settings(home=Path(sys.argv[1])), faults=Kill()) as platform:
    for outcome in platform.sync(
        USERS, [IntegrationRef("acme", "main")], sync_id="killed", pages_per_batch=1
    ):
        raise SystemExit(outcome.error)
"""
"""Commits one page, and is killed before it does anything else."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kills"),
    [
        ("details", 2),
        (JOBS[0], 2),
        *(pytest.param(name, 4, marks=pytest.mark.campaign) for name in KINDS),
    ],
)
def test_a_listing_of_each_kind_that_is_killed_at_every_page_is_whole(
    provider: Provider, tmp_path: Path, name: str, kills: int
) -> None:
    kind = KINDS[name]
    provider.answer = lambda asked: kind.answer(asked, provider.url)
    settings = load_settings(home=tmp_path / "home", fetch_first_wait=0.001)
    data = {"api_endpoint": provider.url, "streams": {"users": yaml.safe_load(kind.stream)}}
    with SyncService.open(settings) as platform:
        platform.registry.add(REF, "rest", data)
    for page in range(kills):
        worker = subprocess.run([sys.executable, "-c", WORKER, str(settings.home)], check=False)
        assert worker.returncode == -signal.SIGKILL, page
    provider.wait_until_all_are_gone()
    provider.asked.clear()
    with SyncService.open(settings) as platform:
        (outcome,) = platform.sync(USERS, [REF], sync_id="killed", pages_per_batch=1)
        assert (outcome.status, outcome.error) == ("applied", None)
        assert (outcome.resumed_batches, outcome.counts.inserts) == (kills, COUNT)
        assert {one["email"] for one in platform.records(USERS, REF)} == {
            one["email"] for one in PEOPLE
        }
    # What was committed is not asked for again, and no other job is begun.
    details = [asked.path for asked in provider.asked if asked.path.startswith("/people/u")]
    assert sorted(details) == (
        [f"/people/u{n}" for n in range(kills * SIZE, COUNT)] if details else []
    )
    assert not any(asked.path == "/exports" for asked in provider.asked)
