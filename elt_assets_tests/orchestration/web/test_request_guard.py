"""What other sites, and integrations, can make a browser or this platform send to our servers."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote

import pytest

from elt_assets.config.secret_refs import Secrets
from elt_assets.config.settings import load_settings
from elt_assets.connectors import catalog
from elt_assets.connectors.limits import FetchLimits
from elt_assets.errors import ProviderRefused
from elt_assets.orchestration.web.request_guard import RequestRules

UI = RequestRules.of("dagster.internal.example")
HEALTH = RequestRules.of("", read_only=True, probed=frozenset({"/health", "/ready"}))
JSON = "application/json"
MUTATION = 'mutation { terminateRun(runId: "x") { __typename } }'


def status(
    access: RequestRules,
    method: str = "GET",
    path: str = "/",
    query: str = "",
    *,
    kind: str = "http",
    host: str = "127.0.0.1:3000",
    **headers: str,
) -> int:
    given = {name.replace("_", "-"): value for name, value in headers.items()} | {"host": host}
    refused = access.refusal(kind, method, path, query, given)
    return 200 if refused is None else int(refused[0])


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:3000", "localhost", "LOCALHOST.:3000", "[::1]:3000", "dagster.internal.example"],
)
def test_the_ui_answers_under_its_own_names(host: str) -> None:
    assert status(UI, host=host) == 200
    assert status(UI, host=host, origin=f"http://{host}", sec_fetch_site="same-origin") == 200
    assert status(UI, kind="websocket", path="/graphql", host=host, origin=f"https://{host}") == 200
    assert status(UI, "POST", "/graphql", host=host, content_type=f"{JSON}; charset=utf-8") == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "192.0.2.1", "", "[::1"],
)
def test_another_host_name_of_the_same_address_is_refused(host: str) -> None:
    """DNS rebinding: the browser believes that it speaks with its own site."""
    assert status(UI, host=host) == 421
    assert status(UI, "POST", "/graphql", host=host, content_type=JSON) == 421
    assert status(UI, kind="websocket", path="/graphql", host=host) == 421


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1:8081", "http://localhost:3000", ""]
)
def test_no_page_of_another_site_is_answered(origin: str) -> None:
    assert status(UI, "POST", "/graphql", origin=origin, content_type=JSON) == 403
    assert status(UI, "OPTIONS", "/graphql", origin=origin) == 403
    assert status(UI, kind="websocket", path="/graphql", origin=origin) == 403
    assert status(HEALTH, path="/metrics", origin=origin) == 403


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "text/json"],
)
def test_requests_without_a_preflight_change_nothing(content_type: str) -> None:
    assert status(UI, "POST", "/graphql", content_type=content_type) == 415
    assert status(UI, "POST", "/report_asset_materialization/x", content_type=content_type) == 415
    assert status(UI, "POST", "/graphql", content_type=f"{content_type}; {JSON}") == 415


@pytest.mark.parametrize("path", ["/graphql", "/graphql/", "/prefix/graphql"])
def test_a_query_by_get_is_refused(path: str) -> None:
    assert status(UI, path=path, query=f"query={quote(MUTATION)}") == 405
    assert status(UI, "HEAD", path, "a=1&query=") == 405
    assert status(UI, path=path) == 200, "the playground"


def test_an_image_on_another_site_is_not_loaded_and_a_link_is_followed() -> None:
    assert status(UI, sec_fetch_site="cross-site", sec_fetch_mode="no-cors") == 403
    assert status(UI, sec_fetch_site="cross-site", sec_fetch_mode="navigate") == 200


def test_probes_are_answered_under_any_name_and_only_reading_is_allowed() -> None:
    for host in ("10.0.3.7:8080", "pod.cluster.local", "", "evil.example"):
        assert status(HEALTH, path="/ready", host=host) == 200
        assert status(HEALTH, path="/health", host=host) == 200
    assert status(HEALTH, path="/metrics", host="10.0.3.7:8080") == 200
    assert status(HEALTH, path="/metrics", host="[fd00::1]:8080") == 200
    assert status(HEALTH, path="/metrics", host="evil.example") == 421
    assert status(HEALTH, "POST", "/health", content_type=JSON) == 405


@contextmanager
def serving(home: Path, *command: str) -> Iterator[int]:
    """The port of a server of ours, once it listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        number: int = found.getsockname()[1]
    environment = {
        **os.environ,
        "ELT_ASSETS_HOME": str(home / "elt"),
        "DAGSTER_HOME": str(home),
        "PYTHONPATH": str(Path(__file__).parents[3]),
    }
    server = subprocess.Popen(
        [sys.executable, "-m", *command, str(number)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        while server.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", number)) == 0:
                    break
        yield number
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Dagster's web server as `dev` starts it."""
    home = tmp_path_factory.mktemp("web")
    code = home / "empty.py"
    code.write_text("import dagster as dg\n\ndefs = dg.Definitions()\n")
    with serving(home, "elt_assets.orchestration.web", "-f", str(code), "-p") as number:
        yield number


def asked(port: int, method: str, path: str, body: str = "", **headers: str) -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body.encode() or None, named)
    answer = connection.getresponse()
    found = answer.status, answer.read().decode()
    connection.close()
    return found


def test_dagsters_server_accepts_only_requests_of_its_own_pages(port: int) -> None:
    query = json.dumps({"query": "{ version }"})
    as_json = {"Content_Type": JSON}
    code, body = asked(port, "POST", "/graphql", query, **as_json)
    assert (code, "version" in body) == (200, True)
    assert asked(port, "GET", "/server_info")[0] == 200
    assert asked(port, "GET", f"/graphql?query={quote(MUTATION)}")[0] == 405
    assert asked(port, "POST", f"/graphql?query={quote(MUTATION)}", "x")[0] == 415
    assert asked(port, "POST", "/graphql", query, Content_Type="text/plain")[0] == 415
    assert (
        asked(port, "POST", "/graphql", query, Origin="https://evil.example", **as_json)[0] == 403
    )
    assert asked(port, "POST", "/graphql", query, Host="evil.example", **as_json)[0] == 421


def test_no_integration_is_answered_whatever_its_tenant_lets_it_send(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVIL", "x")
    connection = {
        "api_endpoint": f"http://127.0.0.1:{port}",
        "auth": {"type": "api_key", "key": {"env": "EVIL"}, "header": "Elt-Assets-Integration"},
        "headers": {"Sec-Fetch-Site": "same-origin"},
    }
    users = {
        "path": "/graphql",
        "body": {"type": "graphql", "query": MUTATION},
        "records": "data",
        "pagination": {"type": "none"},
        "fields": {"external_id": "id"},
    }
    for changes in ({}, {"auth": None}):
        with (
            closing(
                catalog.open_source(
                    "rest",
                    {**connection, **changes, "streams": {"users": users}},
                    "users",
                    secrets=Secrets(),
                    limits=FetchLimits(1, 0, 60, 1 << 20, 9),
                )
            ) as source,
            pytest.raises(ProviderRefused, match="403"),
        ):
            list(source.pages(None))


def test_the_servers_websocket_refuses_another_site(port: int) -> None:
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec_WebSocket_Version": "13",
        "Sec_WebSocket_Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        "Sec_WebSocket_Protocol": "graphql-ws",
    }
    assert asked(port, "GET", "/graphql", Origin="https://evil.example", **upgrade)[0] == 403


def test_the_health_endpoint_is_guarded(tmp_path: Path) -> None:
    with serving(tmp_path, "elt_assets", "serve-health", "--no-server", "--port") as port:
        assert asked(port, "GET", "/")[0] == 200
        assert asked(port, "GET", "/", Host="evil.example")[0] == 421
        assert asked(port, "GET", "/ready", Host="evil.example")[0] in (200, 503)
        assert asked(port, "POST", "/ready", "{}", Content_Type=JSON)[0] == 405


def test_names_of_the_server_are_a_setting(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, allowed_hosts="ui.example, Other.Example")
    assert RequestRules.of(settings.allowed_hosts).hosts >= {
        "ui.example",
        "other.example",
        "localhost",
    }
