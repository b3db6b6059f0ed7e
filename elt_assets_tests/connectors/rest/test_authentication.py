"""Ways to prove who asks, against providers that check them."""

from __future__ import annotations

import json
import os
import ssl
import time
from base64 import b64decode
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials

from elt_assets.config.secret_refs import SecretRef, Secrets
from elt_assets.connectors import catalog
from elt_assets.connectors.http.auth import UnsignedRequest
from elt_assets.connectors.http.signing import hmac_signature
from elt_assets.connectors.http.signing.aws_signature import AwsSignature
from elt_assets.connectors.limits import FetchLimits
from elt_assets.connectors.presets.preset import presets
from elt_assets.connectors.rest.authentication import authenticator
from elt_assets.connectors.rest.provider_data import RestData
from elt_assets.errors import InvalidInput, ProviderRefused, ProviderUnavailable, SecretMissing
from elt_assets_tests.connectors.conftest import OpenSource
from elt_assets_tests.connectors.http.test_jwt_assertion import pem, rsa_key
from elt_assets_tests.connectors.serving import Asked, Provider, Reply, as_json
from elt_assets_tests.orchestration.alerts.test_alerts import own_certificate


def single_page(data: dict[str, Any], auth: dict[str, Any]) -> None:
    """Read one page with this auth."""
    data["auth"] = auth
    data["streams"]["users"] |= {"records": "items", "pagination": {"type": "none"}}


def test_a_client_proves_itself_with_a_signature(
    provider: Provider, data: dict[str, Any], users: OpenSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_KEY", pem(rsa_key()))
    claims: list[dict[str, Any]] = []

    def answer(asked: Asked) -> Reply:
        if asked.path != "/token":
            good = asked.headers.get("authorization") == "Zoho-oauthtoken issued"
            return as_json({"items": [{"id": "1"}]} if good else {}, 200 if good else 401)
        form = asked.form
        assert form["grant_type"] == "client_credentials"
        assert form["client_id"] == "elt-assets"
        assert form["scope"] == "users.read"
        assert form["client_assertion_type"].endswith(":client-assertion-type:jwt-bearer")
        claims.append(
            jwt.decode(
                form["client_assertion"],
                rsa_key().public_key(),
                algorithms=["RS256"],
                audience=f"{provider.url}/token",
                issuer="elt-assets",
                options={"require": ["iss", "sub", "exp", "iat", "jti"]},
            )
        )
        assert jwt.get_unverified_header(form["client_assertion"])["kid"] == "k1"
        return as_json({"access_token": "issued", "token_type": "Zoho-oauthtoken"})

    provider.answer = answer
    single_page(
        data,
        {
            "type": "oauth2_private_key_jwt",
            "token_url": f"{provider.url}/token",
            "client_id": "elt-assets",
            "key": {"env": "TEST_KEY"},
            "key_id": "k1",
            "scope": "users.read",
            "scheme": "Zoho-oauthtoken",
        },
    )
    (page,) = users().pages(None)
    assert page.count == 1
    (claim,) = claims
    assert claim["sub"] == "elt-assets"
    assert claim["exp"] - time.time() <= 300


def test_a_signature_is_made_of_the_request_and_of_a_key_in_base64(
    provider: Provider, data: dict[str, Any], users: OpenSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_KEY", "a2V5")
    single_page(
        data,
        {
            "type": "hmac",
            "key": {"env": "TEST_KEY"},
            "key_encoding": "base64",
            "algorithm": "sha1",
            "signed": "{method} {path}?{query} {body}",
            "header": "X-Signature",
            "value": "sha1={signature}",
        },
    )
    data["streams"]["users"]["params"] = {"b": "ü"}
    provider.answer = lambda _: as_json({"items": []})
    list(users().pages(None))
    (asked,) = provider.asked
    # printf 'GET /v1/users?b=%%C3%%BC ' | openssl dgst -sha1 -hmac key
    assert asked.headers["x-signature"] == "sha1=1d382f8713a9e65e7d83e6b722703325d3e77b8c"


def test_a_signature_as_password_is_that_of_duos_own_client(
    data: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request and the signature are those of its test `test_hmac_sha512`."""
    monkeypatch.setattr(hmac_signature, "time", SimpleNamespace(time=lambda: 1354900680))
    monkeypatch.setenv("TEST_KEY", "gtdfxv9YgVBYcF6dl2Eq17KUQJN2PLM2ODVTkvoT")
    monkeypatch.setenv("TEST_USER", "test_ikey")
    described = presets()["duo"].rest["auth"] | {
        "user": {"env": "TEST_USER"},
        "key": {"env": "TEST_KEY"},
    }
    auth = RestData.model_validate(data | {"auth": described}).auth
    limits = FetchLimits(attempts=1, first_wait=0.0, timeout=1.0, page_bytes=1, max_pages=1)
    sign = authenticator(auth, limits).credentials(Secrets()).sign
    assert sign is not None
    asked = {
        "\u7470\u9314\u901c\u9eae\u40d8\u4201\u82d8\u8c70\u1d31\ua042": "\u17d9\u0ba8\u9358\uaadf"
        "\ua42a\u48be\ufb96\u6fe9\ub7ff\u32f3",
        "\u469a\u287b\u35d0\u8ef3\u6727\u502a\u0810\ud091\xc8\uc170": "\u0f45\u1a76\u341a\u654c"
        "\uc23f\u9b09\uabe2\u8343\u1b27\u60d0",
        "\uc2c5\u2c1d\u2620\u3617\u96b3F\u8605\u20e8\uac21\u5934": "\ufba9\u41aa\ubd83\u840b"
        "\u2615\u3e6e\u652d\ua8b5\ud56bU",
        "\u7449\u7e4b\uccfb\u59ff\ufe5f\u83b7\uadcc\u900c\ucfd1\u7813": "\u8db7\u5022\u92d3\u42ef"
        "\u207d\u8730\uacfe\u5617\u0946\u4e30",
    }
    url = f"https://foO.BAr52.cOm/Foo/BaR2/qux?{urlencode(asked)}"
    headers = sign(UnsignedRequest("POST", url, ""))
    kind, _, coded = headers["Authorization"].partition(" ")
    assert (kind, headers["Date"]) == ("Basic", "Fri, 07 Dec 2012 17:18:00 -0000")
    assert b64decode(coded).decode() == (
        "test_ikey:0508065035a03b2a1de2f453e629e791d180329e157f65df6b3e0f08299d4321"
        "e1c5c7a7c7ee6b9e5fc80d1fb6fbf3ad5eb7c44dd3b3985a02c37aca53ec3698"
    )


def test_a_key_that_is_not_in_its_encoding_is_named(
    data: dict[str, Any], users: OpenSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_KEY", "not hexadecimal")
    single_page(
        data,
        {"type": "hmac", "key": {"env": "TEST_KEY"}, "key_encoding": "hex", "signed": "{path}"},
    )
    with pytest.raises(SecretMissing, match="TEST_KEY does not hold a key in hex"):
        list(users().pages(None))


@pytest.mark.parametrize(
    ("auth", "words"),
    [
        ({"type": "bearer", "token": {"env": "A"}, "scheme": "two words"}, "auth.scheme"),
        (
            {"type": "hmac", "key": {"env": "A"}, "signed": "{verb}"},
            "auth: signed: {verb} is not known here",
        ),
        (
            {"type": "hmac", "key": {"env": "A"}, "signed": "{path}", "value": "x"},
            "value has no {signature}",
        ),
        ({"type": "hmac", "key": "s3cret", "signed": "{path}"}, "never the secret itself"),
        ({"type": "several", "parts": [{"type": "bearer", "token": {"env": "A"}}]}, "auth.parts"),
        (
            {
                "type": "several",
                "parts": [
                    {"type": "bearer", "token": {"env": "A"}},
                    {"type": "basic", "username": "a", "password": {"env": "B"}},
                ],
            },
            "two of them are sent in the header authorization",
        ),
        (
            {
                "type": "several",
                "parts": [
                    {"type": "api_key", "key": {"env": "A"}, "param": "key"},
                    {
                        "type": "oauth2_private_key_jwt",
                        "token_url": "http://login.acme.example/token",
                        "client_id": "a",
                        "key": {"env": "B"},
                    },
                ],
            },
            "auth.token_url is plain http",
        ),
    ],
)
def test_a_mistake_is_named(data: dict[str, Any], auth: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        catalog.validate("rest", data | {"auth": auth})
    assert words in str(refused.value)


def halves(folder: Path) -> tuple[Path, Path]:
    """A certificate that signs itself, and its key."""
    folder.mkdir()
    text = own_certificate(folder).read_text()
    at = text.index("-----BEGIN CERTIFICATE-----")
    end = text.index("-----END CERTIFICATE-----") + len("-----END CERTIFICATE-----\n")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    certificate.write_text(text[at:end])
    key.write_text(text[:at] + text[end:])
    return certificate, key


def test_the_platform_shows_its_certificate_to_its_own_provider_alone(
    provider: Provider,
    elsewhere: Provider,
    data: dict[str, Any],
    users: OpenSource,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server, client = halves(tmp_path / "server"), halves(tmp_path / "client")
    monkeypatch.setenv("SSL_CERT_FILE", str(server[0]))
    demanding = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    demanding.load_cert_chain(*server)
    demanding.load_verify_locations(client[0])
    demanding.verify_mode = ssl.CERT_REQUIRED
    provider.encrypt(demanding)
    shown: list[bool] = []
    asking = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    asking.load_cert_chain(*server)
    asking.load_verify_locations(client[0])
    asking.verify_mode = ssl.CERT_OPTIONAL
    elsewhere.encrypt(asking)
    elsewhere.connected = lambda one: shown.append(one.getpeercert() is not None)
    secure = provider.url.replace("http:", "https:")
    other = elsewhere.url.replace("http:", "https:")
    data["api_endpoint"] = f"{secure}/v1"
    data["allowed_hosts"] = [other.removeprefix("https://")]
    data["streams"]["users"] |= {
        "records": "items",
        "pagination": {"type": "next_url", "url": "next"},
    }
    provider.answer = lambda _: as_json({"items": [{"id": "1"}], "next": f"{other}/v1/users"})
    elsewhere.answer = lambda _: as_json({"items": [{"id": "2"}], "next": None})
    with pytest.raises((ProviderUnavailable, ProviderRefused)):
        list(users(attempts=1).pages(None))
    data["client_certificate"] = {
        "certificate": {"file": str(client[0])},
        "key": {"file": str(client[1])},
    }
    assert [page.count for page in users().pages(None)] == [1, 1]
    assert shown == [False]
    data["client_certificate"]["key"] = {"file": str(server[1])}
    with pytest.raises(SecretMissing, match="are no certificate and its private key in PEM"):
        list(users().pages(None))


def test_a_certificate_is_not_for_plain_http(data: dict[str, Any]) -> None:
    shown = {"certificate": {"env": "A"}, "key": {"env": "B"}}
    with pytest.raises(InvalidInput, match="client_certificate is shown in TLS"):
        catalog.validate("rest", data | {"client_certificate": shown})


def test_a_session_is_opened_once_and_again_when_it_is_refused(
    provider: Provider, data: dict[str, Any], users: OpenSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_PASSWORD", "pass-word-of-the-test")
    opened: list[dict[str, Any]] = []

    def answer(asked: Asked) -> Reply:
        if asked.path == "/login":
            opened.append(json.loads(asked.body))
            return as_json({}, 200, set_cookie=f"a=b; Path=/, SID=s{len(opened)}; HttpOnly")
        good = asked.headers.get("cookie") == f"SID=s{len(opened)}" and len(opened) == 2
        return as_json({"items": [{"id": "1"}]} if good else {}, 200 if good else 401)

    provider.answer = answer
    auth = {
        "type": "session",
        "login_url": f"{provider.url}/login",
        "content": {"user": "svc", "password": {"env": "TEST_PASSWORD"}},
        "cookie": "SID",
    }
    single_page(data, auth)
    (page,) = users().pages(None)
    assert page.count == 1
    assert opened == [{"user": "svc", "password": "pass-word-of-the-test"}] * 2
    provider.answer = lambda _: as_json({"error": "wrong pass-word-of-the-test"}, 401)
    with pytest.raises(ProviderRefused, match="check the secret in environment variable") as found:
        list(users().pages(None))
    assert "pass-word-of-the-test" not in str(found.value)
    data["auth"] = auth | {"content": {"user": "svc", "password": "in the clear"}}
    with pytest.raises(InvalidInput, match=r"content\.password: give a secret as"):
        catalog.validate("rest", data)


@pytest.mark.parametrize("posted", [None, '{"a": "ü"}'])
@pytest.mark.parametrize("query", ["", "?b=%C3%BC+x&a=1&empty="])
@pytest.mark.parametrize("service", ["identitystore", "s3"])
def test_an_aws_signature_is_that_of_amazons_own_library(
    monkeypatch: pytest.MonkeyPatch, posted: str | None, query: str, service: str
) -> None:
    monkeypatch.setenv("TEST_KEY", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
    monkeypatch.setenv("TEST_SESSION", "a-session-token")
    signature = AwsSignature(
        "AKIDEXAMPLE",
        SecretRef(env="TEST_KEY"),
        SecretRef(env="TEST_SESSION"),
        "eu-central-1",
        service,
    )
    credentials = signature.credentials(Secrets())
    headers = {"X-Amz-Target": "AWSIdentityStore.ListUsers", **credentials.headers}
    headers |= {} if posted is None else {"Content-Type": "application/x-amz-json-1.1"}
    url = f"https://identitystore.eu-central-1.amazonaws.com/a%20b/%C3%BC{query}"
    assert credentials.sign is not None
    method = "GET" if posted is None else "POST"
    made = credentials.sign(UnsignedRequest(method, url, posted or "", headers))
    sent = headers | {"X-Amz-Content-SHA256": made["X-Amz-Content-Sha256"]}
    theirs = AWSRequest(method, url.replace("+", "%20"), sent, posted and posted.encode())
    moment = datetime.strptime(made["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: moment)
    key = BotoCredentials("AKIDEXAMPLE", os.environ["TEST_KEY"], "a-session-token")
    signer = {"s3": S3SigV4Auth}.get(service, SigV4Auth)
    signer(key, service, "eu-central-1").add_auth(theirs)
    assert made["Authorization"] == theirs.headers["Authorization"]
