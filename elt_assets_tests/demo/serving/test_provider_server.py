from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from elt_assets.demo.layout import DemoLayout
from elt_assets.demo.process import ProviderProcess
from elt_assets.demo.registration import provider_data
from elt_assets.demo.serving.provider_server import serve
from elt_assets.errors import InvalidInput, NotFound
from elt_assets.identifiers import IntegrationRef
from elt_assets_tests.demo.reading import call, read_all, read_page, read_truth, users_path

CALM = IntegrationRef("demo-001", "people-001")
EDITED = IntegrationRef("demo-002", "people-001")
EMPTY = IntegrationRef("acme", "empty")


@pytest.fixture(scope="module")
def provider() -> Iterator[ProviderProcess]:
    layout = DemoLayout(integrations=2, users=45, others={str(EMPTY): 0})
    with ProviderProcess(layout) as running:
        yield running


def test_a_page_has_ten_people_a_cursor_and_the_total(provider: ProviderProcess) -> None:
    page = read_page(provider, CALM)
    assert page.keys() == {"items", "next", "total"}
    assert len(page["items"]) == 10
    assert isinstance(page["next"], str)
    assert page["total"] == 45


@pytest.mark.parametrize("limit", [1, 7, 15, 44, 45, 46, 1000])
def test_following_cursors_reads_every_person_once(provider: ProviderProcess, limit: int) -> None:
    records = read_all(provider, CALM, limit=limit)
    assert len(records) == len({record["id"] for record in records}) == 45
    assert read_truth(provider, CALM) == provider.truth(CALM)


def test_the_last_page_is_the_last_even_if_it_is_full(provider: ProviderProcess) -> None:
    assert read_page(provider, CALM, limit=45)["next"] is None
    assert read_page(provider, CALM, limit=44)["next"] is not None


def test_an_empty_integration_is_one_empty_last_page(provider: ProviderProcess) -> None:
    assert read_page(provider, EMPTY) == {"items": [], "next": None, "total": 0}


@pytest.mark.parametrize("token", [None, "", "wrong"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", users_path(CALM)),
        ("GET", "/v1/nobody/nothing/users"),
        ("GET", "/control/worlds"),
        ("GET", f"/control/state/{CALM.organization_id}/{CALM.integration_id}"),
        ("GET", "/control/requests"),
        ("DELETE", "/control/requests"),
        ("POST", "/control/advance"),
        ("POST", f"/control/edit/{CALM.organization_id}/{CALM.integration_id}"),
        ("GET", "/anything"),
    ],
)
def test_without_the_token_every_route_answers_401_and_does_nothing(
    provider: ProviderProcess, method: str, path: str, token: str | None
) -> None:
    held, logged = provider.worlds(), len(provider.requests())
    answer = call(provider, path, method=method, token=token)
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.body["error"] == {
        "code": "unauthorized",
        "message": "a valid bearer token is required",
    }
    assert answer.body["requestId"]
    assert provider.worlds() == held
    assert len(provider.requests()) >= logged


def test_a_token_that_is_almost_right_is_wrong(provider: ProviderProcess) -> None:
    for almost in (provider.token[:-1], provider.token + "x", provider.token.swapcase(), "Ünï"):
        assert call(provider, users_path(CALM), token=almost).status == 401


def test_the_index_lists_the_routes_without_a_token(provider: ProviderProcess) -> None:
    answer = call(provider, "/", token=None)
    assert answer.status == 200
    assert "GET /v1/{organization}/{integration}/users" in answer.body["routes"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", users_path(IntegrationRef("demo-001", "nothing")), 404, "not_found"),
        ("GET", users_path(IntegrationRef("nobody", "people-001")), 404, "not_found"),
        ("GET", "/v1/demo-001/users", 404, "not_found"),
        ("GET", "/v1/demo-001/..x/users", 400, "invalid_request"),
        ("GET", users_path(CALM, cursor="made up"), 400, "invalid_request"),
        ("GET", users_path(CALM, limit=1001), 400, "invalid_request"),
        ("GET", users_path(CALM, status="GONE"), 400, "invalid_request"),
        ("POST", users_path(CALM), 405, "method_not_allowed"),
        ("GET", "/control/advance", 405, "method_not_allowed"),
        ("GET", "/control/state/demo-001/nothing", 404, "not_found"),
        ("POST", "/control/edit/demo-001/nothing", 400, "invalid_request"),
    ],
)
def test_a_wrong_request_gets_an_error_in_json(
    provider: ProviderProcess, method: str, path: str, status: int, code: str
) -> None:
    answer = call(provider, path, method=method)
    assert (answer.status, answer.body["error"]["code"]) == (status, code)
    assert answer.body["error"]["message"]
    assert answer.body["requestId"]


def test_the_request_log_holds_each_page_asked_for_in_order(provider: ProviderProcess) -> None:
    provider.forget_requests()
    page = read_page(provider, CALM, limit=40)
    read_page(provider, CALM, limit=40, cursor=page["next"])
    read_page(provider, EDITED)
    call(provider, users_path(CALM), token="wrong-token")
    provider.worlds()
    log = provider.requests()
    assert [(entry["cursor"], entry["limit"], entry["status"]) for entry in log] == [
        (None, "40", 200),
        (page["next"], "40", 200),
        (None, None, 200),
        (None, None, 401),
    ]
    assert {entry["method"] for entry in log} == {"GET"}
    assert log[0]["path"] == "/v1/demo-001/people-001/users"
    assert sorted(entry["sequence"] for entry in log) == [entry["sequence"] for entry in log]
    assert len(provider.requests(CALM)) == 3
    assert len(provider.requests(EDITED)) == 1
    assert "token" not in str(log)
    assert provider.token not in str(log)
    provider.forget_requests()
    assert provider.requests() == []


def test_advancing_moves_every_world_one_round(provider: ProviderProcess) -> None:
    before = {ref: provider.truth(ref) for ref in (CALM, EDITED)}
    first = provider.advance()
    assert provider.advance() == first + 1
    for ref, truth in before.items():
        assert provider.truth(ref) != truth
        assert read_truth(provider, ref) == provider.truth(ref)


def test_an_edit_is_served_and_is_the_truth(provider: ProviderProcess) -> None:
    one, two, three = (user["external_id"] for user in provider.truth(EDITED)[:3])
    held = provider.worlds()[EDITED]
    total = provider.edit(
        EDITED,
        remove=[one],
        change={two: {"profile": {"displayName": "Zoë"}}, three: {"status": "SUSPENDED"}},
        add=[{"id": "extra", "profile": {"displayName": "X", "email": "x@y.example"}}],
    )
    assert total == held == provider.worlds()[EDITED]
    truth = {user["external_id"]: user for user in provider.truth(EDITED)}
    assert one not in truth
    assert truth[two]["name"] == "Zoë"
    assert truth[three]["active"] is False
    assert truth["extra"]["email"] == "x@y.example"
    assert read_truth(provider, EDITED) == list(provider.truth(EDITED))


def test_an_invalid_edit_is_refused_and_changes_nothing(provider: ProviderProcess) -> None:
    truth = provider.truth(EDITED)
    with pytest.raises(NotFound, match="no person with number or id 'nobody'"):
        provider.edit(EDITED, add=1, remove=["nobody"])
    with pytest.raises(InvalidInput, match="add"):
        provider.edit(EDITED, add=-1)
    with pytest.raises(NotFound, match="acme:nothing is not served"):
        provider.edit(IntegrationRef("acme", "nothing"), add=1)
    assert provider.truth(EDITED) == truth


def test_provider_data_names_what_the_server_really_serves(provider: ProviderProcess) -> None:
    data = provider_data(provider.url, CALM, {"env": "DEMO_TOKEN"})
    users = data["streams"]["users"]
    path = data["api_endpoint"].removeprefix(provider.url) + users["path"]
    answer = call(provider, path + "?status=" + users["params"]["status"])
    found = answer.body
    for key in users["records"].split("."):
        found = found[key]
    for expression in users["fields"].values():
        value = found[0]
        for key in expression.split(" ==")[0].split("."):
            value = value[key]
        assert value
    assert answer.body["data"]["total"] == provider.worlds()[CALM]
    assert data["auth"] == {"type": "bearer", "token": {"env": "DEMO_TOKEN"}}


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "example.com", "::", ""])
def test_it_serves_loopback_only(host: str) -> None:
    with pytest.raises(InvalidInput, match=r"127\.0\.0\.1 only"):
        serve(DemoLayout(), token="t", host=host)


def test_a_port_that_cannot_be_used_is_named(provider: ProviderProcess) -> None:
    with pytest.raises(InvalidInput, match=f"port {provider.port} of 127.0.0.1 cannot be used"):
        serve(DemoLayout(), token="t", port=provider.port)
    with pytest.raises(InvalidInput, match="port 70000"):
        serve(DemoLayout(), token="t", port=70000)


def test_a_signal_after_the_announced_address_ends_it_in_order() -> None:
    """A signal that raised an error at once could be swallowed by whatever was under way."""
    told: list[str] = []

    def ready(url: str) -> None:
        signal.raise_signal(signal.SIGINT)
        told.append(url)

    # What another test of this process has left as the handler is not meant.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            serve(DemoLayout(users=1), token="t", ready=ready)
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(told) == 1
