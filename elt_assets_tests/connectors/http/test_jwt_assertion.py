"""Tokens for signed assertions (RFC 7523), against a token endpoint that checks the signature."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from elt_assets.config.secret_refs import Secrets
from elt_assets.connectors import catalog
from elt_assets.connectors.limits import FetchLimits
from elt_assets.connectors.source import Source
from elt_assets.errors import InvalidInput, ProviderRefused, SecretMissing
from elt_assets_tests.connectors.serving import Asked, Provider, Reply, as_json

GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
ROBOT = "robot@project.iam.gserviceaccount.example"
SCOPE = "https://www.googleapis.com/auth/admin.directory.user.readonly"


@cache
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@cache
def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


@dataclass
class TokenEndpoint:
    """Gives a token for an assertion that `key` signed, and users to who has it."""

    url: str
    key: Any
    asked: list[Asked] = field(default_factory=list)
    claims: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, asked: Asked) -> Reply:
        self.asked.append(asked)
        if asked.path != "/token":
            if asked.headers.get("authorization") != "Bearer issued-token":
                return as_json({"error": "unauthorized"}, 401)
            return as_json({"users": [{"id": "1", "primaryEmail": "ada@acme.example"}]})
        assertion = asked.form["assertion"]
        try:
            claims = jwt.decode(
                assertion,
                self.key.public_key(),
                algorithms=["ES256" if self.key is ec_key() else "RS256"],
                audience=f"{self.url}/token",
                options={"require": ["iss", "exp", "iat"]},
            )
        except jwt.PyJWTError:
            return as_json({"error": "invalid_grant"}, 400)
        self.claims.append(claims)
        self.headers.append(jwt.get_unverified_header(assertion))
        return as_json({"access_token": "issued-token", "token_type": "Bearer", "expires_in": 3599})


@pytest.fixture
def endpoint(provider: Provider) -> TokenEndpoint:
    endpoint = TokenEndpoint(provider.url, rsa_key())
    provider.answer = endpoint
    return endpoint


def key_file(tmp_path: Path, **changes: Any) -> dict[str, str]:
    """A Google service account's JSON key as it is downloaded, by reference."""
    found = {
        "type": "service_account",
        "private_key_id": "key-7",
        "private_key": pem(rsa_key()),
        "client_email": ROBOT,
        "token_uri": "https://evil.example/token",
    } | changes
    path = tmp_path / "key.json"
    path.write_text(json.dumps({name: text for name, text in found.items() if text is not None}))
    return {"file": str(path)}


def opened(name: str, data: dict[str, Any], secrets: Secrets | None = None) -> Source:
    limits = FetchLimits(attempts=2, first_wait=0.001, timeout=10, page_bytes=1 << 20, max_pages=9)
    return catalog.open_source(name, data, "users", secrets=secrets or Secrets(), limits=limits)


def google(url: str, key: dict[str, str]) -> dict[str, Any]:
    return {
        "key": key,
        "subject": "admin@acme.example",
        "api_endpoint": url,
        "token_url": f"{url}/token",
    }


def rest(url: str, key: dict[str, str], **auth: Any) -> dict[str, Any]:
    return {
        "api_endpoint": url,
        "auth": {
            "type": "oauth2_jwt_bearer",
            "token_url": f"{url}/token",
            "key": key,
            **auth,
        },
        "streams": {
            "users": {
                "path": "/users",
                "records": "users",
                "pagination": {"type": "none"},
                "fields": {"external_id": "id"},
            }
        },
    }


def count(source: Source) -> int:
    found = sum(page.count for page in source.pages(None))
    source.close()
    return found


def test_a_google_service_account_reads_the_directory_as_its_administrator(
    endpoint: TokenEndpoint, tmp_path: Path
) -> None:
    secrets = Secrets()
    data = google(endpoint.url, key_file(tmp_path))
    assert count(opened("google_workspace", data, secrets)) == 1
    (claims,) = endpoint.claims
    assert (claims["iss"], claims["sub"]) == (ROBOT, "admin@acme.example")
    assert claims["scope"] == SCOPE
    assert claims["exp"] - claims["iat"] == 3600
    assert abs(claims["iat"] - time.time()) < 60
    assert endpoint.headers[0]["kid"] == "key-7"
    asked, listing = endpoint.asked
    assert asked.form["grant_type"] == GRANT
    assert listing.path == "/admin/directory/v1/users"
    assert asked.form["assertion"] not in str(listing), "the assertion goes to one place"
    for secret in (asked.form["assertion"], pem(rsa_key()).strip(), "issued-token"):
        assert secret not in secrets.redact(f"{secret} was sent")


def test_a_key_of_another_kind_signs_for_the_issuer_that_is_configured(
    endpoint: TokenEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint.key = ec_key()
    monkeypatch.setenv("SIGNING_KEY", pem(ec_key()))
    auth = {"issuer": "client-7", "algorithm": "ES256", "key_id": "k1", "params": {"resource": "r"}}
    assert count(opened("rest", rest(endpoint.url, {"env": "SIGNING_KEY"}, **auth))) == 1
    assert endpoint.claims[0]["iss"] == "client-7"
    assert "sub" not in endpoint.claims[0]
    assert endpoint.headers[0] | {"alg": "ES256", "kid": "k1"} == endpoint.headers[0]
    assert endpoint.asked[0].form["resource"] == "r"


def test_a_signature_that_the_endpoint_refuses_says_what_to_check(
    endpoint: TokenEndpoint, tmp_path: Path
) -> None:
    endpoint.key = rsa.generate_private_key(65537, 2048)
    with pytest.raises(ProviderRefused) as caught:
        count(opened("google_workspace", google(endpoint.url, key_file(tmp_path))))
    assert "invalid_grant" in str(caught.value)
    assert "check issuer, subject, scope and the key in file " in str(caught.value)
    assert {asked.path for asked in endpoint.asked} == {"/token"}


@pytest.mark.parametrize(
    ("text", "auth", "words"),
    [
        ("not a key", {"issuer": "i"}, "holds no private key for RS256"),
        ("{}", {}, "is JSON without a private_key"),
        ("{broken", {}, "is JSON without a private_key"),
        (pem(ec_key()), {"issuer": "i"}, "holds no private key for RS256"),
        (pem(rsa_key()), {}, "does not name the issuer; set issuer"),
    ],
)
def test_a_key_that_cannot_sign_is_named_and_nothing_is_sent(
    endpoint: TokenEndpoint,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    auth: dict[str, Any],
    words: str,
) -> None:
    monkeypatch.setenv("SIGNING_KEY", text)
    with pytest.raises(SecretMissing) as caught:
        count(opened("rest", rest(endpoint.url, {"env": "SIGNING_KEY"}, **auth)))
    assert f"environment variable SIGNING_KEY {words}" in str(caught.value)
    assert text not in str(caught.value)
    assert endpoint.asked == []


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"key": {"env": "KEY"}},
        {"client_id": "c", "client_secret": {"env": "S"}},
        {
            "key": {"env": "KEY"},
            "subject": "a@b.example",
            "client_id": "c",
            "client_secret": {"env": "S"},
            "refresh_token": {"env": "R"},
        },
    ],
)
def test_credentials_of_one_way_and_one_alone_are_asked_for(given: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as caught:
        catalog.validate("google_workspace", given)
    assert (
        "give key and subject, or client_id and client_secret and refresh_token, one of them"
        in str(caught.value)
    )


def test_a_token_endpoint_in_the_clear_gets_no_assertion() -> None:
    data = rest("https://api.example", {"env": "KEY"}) | {"api_endpoint": "https://api.example"}
    data["auth"]["token_url"] = "http://login.example/token"
    with pytest.raises(InvalidInput, match=r"auth\.token_url is plain http"):
        catalog.validate("rest", data)
