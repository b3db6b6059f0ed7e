"""Every preset against a server that behaves as that provider's public documentation says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from elt_assets.config.secret_refs import Secrets
from elt_assets.connectors import catalog
from elt_assets.connectors.limits import FetchLimits
from elt_assets.connectors.presets.preset import presets
from elt_assets.connectors.source import Source
from elt_assets.errors import InvalidInput, PageUnreadable, ProviderRefused
from elt_assets.identifiers import IntegrationRef
from elt_assets_tests.connectors.provider_behaviour import (
    BEHAVIOURS,
    SECRET,
    TOKEN,
    Behaviour,
    Human,
)
from elt_assets_tests.connectors.serving import Answer, Asked, Provider, Reply, as_json

pytestmark = pytest.mark.slow

REF = IntegrationRef("acme", "preset")
EVERY = pytest.mark.parametrize("name", BEHAVIOURS)


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRESET_SECRET", SECRET)


def humans(behaviour: Behaviour, pages: float = 2.5) -> list[Human]:
    return [Human(number) for number in range(1, int(behaviour.page_size * pages) + 1)]


def serving(behaviour: Behaviour, people: list[Human], provider: Provider) -> Answer:
    records = [behaviour.record(human) for human in people]

    def answer(asked: Asked) -> Reply:
        if behaviour.token is not None and asked.path == behaviour.token_path:
            return behaviour.token(asked)
        if not behaviour.admits(asked):
            return behaviour.unauthorized
        assert asked.path == behaviour.path
        return behaviour.page(asked, records, provider.url)

    return answer


def opened(name: str, provider_data: dict[str, Any]) -> Source:
    limits = FetchLimits(
        attempts=2, first_wait=0.001, timeout=10, page_bytes=1 << 24, max_pages=100
    )
    return catalog.open_source(name, provider_data, "users", secrets=Secrets(), limits=limits)


def count(source: Source) -> int:
    found = sum(page.count for page in source.pages(None))
    source.close()
    return found


def test_every_behaviour_is_that_of_a_preset() -> None:
    assert set(BEHAVIOURS) <= set(presets())


def test_every_preset_says_where_and_when_it_was_read() -> None:
    for name, preset in presets().items():
        assert preset.sources, name
        assert all(source.startswith("https://") for source in preset.sources), name


@EVERY
def test_wrong_credentials_are_named_in_the_providers_own_code(
    provider: Provider, name: str
) -> None:
    behaviour = BEHAVIOURS[name]
    issued = behaviour.token

    def answer(asked: Asked) -> Reply:
        if issued is not None and asked.path == behaviour.token_path:
            return issued(asked)
        return behaviour.unauthorized

    provider.answer = answer
    with pytest.raises((ProviderRefused, PageUnreadable)) as caught:
        count(opened(name, behaviour.data(provider.url)))
    message = str(caught.value)
    assert behaviour.complaint in message
    assert SECRET not in message
    assert TOKEN not in message


@EVERY
def test_a_presets_example_and_documentation_are_there(name: str) -> None:
    preset = presets()[name]
    assert preset.documentation.startswith("https://")
    assert catalog.validate(name, preset.example) == preset.example
    described = catalog.schema(name)["properties"]
    assert set(preset.asks) <= set(described)
    assert all(described[asked].get("description") for asked in preset.asks)
    assert ("streams" in described) is (len(preset.rest["streams"]) > 1)


@EVERY
def test_a_preset_asks_for_secrets_by_reference(name: str) -> None:
    preset = presets()[name]
    for asked, ask in preset.asks.items():
        if ask.secret:
            with pytest.raises(InvalidInput, match=f"{asked}: give a secret as"):
                catalog.validate(name, preset.example | {asked: "typed in place"})


def test_more_fields_and_parameters_can_be_asked_for(provider: Provider) -> None:
    behaviour = BEHAVIOURS["okta"]
    provider.answer = serving(behaviour, humans(behaviour, 0.1), provider)
    source = opened(
        "okta",
        behaviour.data(provider.url)
        | {"fields": {"team": "profile.team"}, "params": {"search": 'status eq "ACTIVE"'}},
    )
    assert "team" in source.fields
    assert "external_id" in source.fields
    count(source)
    assert provider.asked[0].query["search"] == 'status eq "ACTIVE"'
    assert provider.asked[0].query["limit"] == "200"


def test_a_domain_that_would_lead_elsewhere_is_refused() -> None:
    for domain in ("acme.okta.com/x", "a@evil.example", "evil.example?x=", "x y"):
        with pytest.raises(InvalidInput, match="domain: does not have the expected form"):
            catalog.validate("okta", {"domain": domain, "token": {"env": "T"}})


@pytest.mark.parametrize(
    "more", [{}, {"key_id": "k1", "scope": "okta.users.read okta.groups.read"}]
)
def test_a_service_app_of_okta_proves_itself_by_its_key(
    provider: Provider, tmp_path: Path, more: dict[str, str]
) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = tmp_path / "key.pem"
    pem.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    pem.chmod(0o600)
    behaviour = BEHAVIOURS["okta"]
    records = [behaviour.record(human) for human in humans(behaviour, 0.1)]

    def answer(asked: Asked) -> Reply:
        if asked.path == "/oauth2/v1/token":
            assertion, url = asked.form["client_assertion"], f"{provider.url}/oauth2/v1/token"
            claims = jwt.decode(assertion, key.public_key(), ["RS256"], audience=url)
            assert (claims["iss"], claims["sub"]) == ("0oa1", "0oa1")
            assert jwt.get_unverified_header(assertion).get("kid") == more.get("key_id")
            assert asked.form["scope"] == more.get("scope", "okta.users.read")
            return as_json({"access_token": TOKEN, "token_type": "Bearer", "expires_in": 3600})
        if asked.headers.get("authorization") != f"Bearer {TOKEN}":
            return behaviour.unauthorized
        return behaviour.page(asked, records, provider.url)

    provider.answer = answer
    data = {
        "domain": "acme.okta.com",
        "client_id": "0oa1",
        "private_key": {"file": str(pem)},
        "api_endpoint": f"{provider.url}/api/v1",
        "token_url": f"{provider.url}/oauth2/v1/token",
        **more,
    }
    assert count(opened("okta", data)) == len(records)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"client_id": "0oa1"},
        {"token": {"env": "T"}, "client_id": "0oa1", "private_key": {"env": "K"}},
    ],
)
def test_okta_takes_a_token_or_a_key_pair(given: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="give token, or client_id and private_key"):
        catalog.validate("okta", {"domain": "acme.okta.com", **given})
