"""Secrets planted in configuration and answers, searched for in everything that was written."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from elt_assets.config.settings import load_settings
from elt_assets.demo.layout import DemoLayout
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.outcome import Status
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import USERS
from elt_assets_tests.campaign.hostile.installations import person
from elt_assets_tests.campaign.oracles import leaked_secrets
from elt_assets_tests.cli.conftest import Process, connect
from elt_assets_tests.connectors.serving import Asked, Provider, Reply, as_json
from elt_assets_tests.testbed.faulty_provider.fault import ALWAYS, Order, Plan
from elt_assets_tests.testbed.faulty_provider.faulty_process import FaultyProvider

TOKEN, KEY, PASSWORD = "bearer-s3cr3t/+=1", "query-s3cr3t/+=2", "basic-s3cr3t/+=3"
BASIC = base64.b64encode(f"ann:{PASSWORD}".encode()).decode()
FORMS = (*(s for t in (TOKEN, KEY, PASSWORD) for s in (t, quote(t), quote(t, safe=""))), BASIC)
AUTHS: dict[str, dict[str, Any]] = {
    "bearer": {"type": "bearer", "token": {"env": "PLANTED_TOKEN"}},
    "query": {"type": "api_key", "key": {"env": "PLANTED_KEY"}, "param": "key"},
    "basic": {"type": "basic", "username": "ann", "password": {"env": "PLANTED_PASSWORD"}},
}


def echo(asked: Asked) -> str:
    """Whatever proves who asked, as it arrived."""
    return asked.headers.get("authorization", "").partition(" ")[2] or asked.query["key"]


def listed(asked: Asked) -> Reply:
    """Two pages whose link repeats the credentials, as many providers' links do."""
    if "second" in asked.query:
        return as_json({"items": [person(2)], "next": None})
    link = f"{asked.path}?second=1&key={quote(echo(asked), safe='')}#{quote(echo(asked), safe='')}"
    return as_json({"items": [person(1)], "next": link}, x_echo=echo(asked))


ANSWERS = {
    "listed": listed,
    "refused": lambda asked: as_json({"error": {"message": f"bad {echo(asked)}"}}, 401),
    "away": lambda asked: as_json({"error": echo(asked)}, 503, x_echo=echo(asked)),
    "moved": lambda asked: Reply(
        status=302, headers={"Location": f"http://{quote(echo(asked), safe='')}.example/?k=1"}
    ),
    "partial": lambda asked: as_json({"errors": {echo(asked): 1}, "items": [], "next": None}),
    "strange": lambda asked: as_json({echo(asked): [], "next": None}),
    "text": lambda asked: Reply(f"<html>{echo(asked)}</html>".encode()),
    "astray": lambda asked: as_json(
        {"items": [], "next": f"http://other.example/?token={quote(echo(asked), safe='')}"}
    ),
}


def decoded(asked: Asked) -> Asked:
    """The request with what Basic packs into base64 unpacked in turns, so that both are echoed."""
    scheme, _, credential = asked.headers.get("authorization", "").partition(" ")
    if scheme == "Basic" and asked.number % 2:
        plain = base64.b64decode(credential).decode().partition(":")[2]
        return Asked(asked.path, asked.query, {"authorization": f"x {plain}"}, asked.number)
    return asked


def provider_data(url: str, auth: str, answer: str) -> dict[str, Any]:
    return {
        "api_endpoint": url,
        "auth": AUTHS[auth],
        "streams": {
            "users": {
                "path": f"/{auth}/{answer}",
                "records": "items",
                "pagination": {"type": "next_url", "url": "next"},
                "fields": {"external_id": "id", "name": "name", "email": "profile.email"},
            }
        },
    }


def test_no_secret_reaches_a_file_a_log_or_a_message_whatever_the_provider_echoes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    for name, value in (("TOKEN", TOKEN), ("KEY", KEY), ("PASSWORD", PASSWORD)):
        monkeypatch.setenv(f"PLANTED_{name}", value)
    settings = load_settings(home=tmp_path / "home", fetch_attempts=2, fetch_first_wait=0)
    with (
        Provider(lambda asked: ANSWERS[asked.path.split("/")[2]](decoded(asked))) as provider,
        SyncService.open(settings) as platform,
    ):
        refs = [IntegrationRef(auth, answer) for auth in AUTHS for answer in ANSWERS]
        for ref in refs:
            data = provider_data(provider.url, ref.organization_id, ref.integration_id)
            platform.registry.add(ref, "rest", data)
        said = []
        for sync_id in ("first", "second"):
            outcomes = list(platform.sync(USERS, refs, sync_id=sync_id, pages_per_batch=1))
            said += [outcome.as_json() | {"reasons": outcome.reasons} for outcome in outcomes]
            failed = {o.partition for o in outcomes if o.status is Status.FAILED}
            # A key of the query is taken out of a link; any other secret in it is refused.
            assert failed == {str(ref) for ref in refs} - {"query:listed"}
        assert provider.asked
        echoed = {form for asked in provider.asked for form in FORMS if form in echo(asked)}
        assert echoed == {TOKEN, KEY, BASIC}
    everything = json.dumps(said) + caplog.text
    assert [form for form in FORMS if form in everything] == []
    assert leaked_secrets(settings.home, FORMS) == []


def test_no_secret_reaches_dagster_or_the_terminal(tmp_path: Path) -> None:
    """The whole way: the command, a Dagster run, its event log and everything under the home."""
    command = Process(tmp_path)
    layout = DemoLayout(organizations=1, integrations=2, users=12)
    good, bad = layout.worlds()
    with FaultyProvider(layout, token="planted-dagster-s3cr3t-4") as provider:
        connect(command, provider, good)
        connect(command, provider, bad)
        quoting = Order("status_400_that_quotes_the_credentials", times=ALWAYS)
        provider.order_chaos(bad, Plan([quoting]))
        ended = command("sync", "--all")
        said = [ended.out, ended.err, command("syncs", "--json").out]
        assert ended.status == 1
        assert "400" in "".join(said)
        assert provider.lift_chaos(bad).fired
    assert [text for text in said if provider.token in text] == []
    assert (command.home / "dagster").is_dir()
    assert leaked_secrets(command.home, [provider.token]) == []
