"""OAuth tokens, quotas and the retry budget: how a source behaves towards a provider."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from elt_assets.config.secret_refs import Secrets
from elt_assets.connectors import catalog
from elt_assets.connectors.http.error_bodies import asks_to_slow_down, unsaid_wait
from elt_assets.connectors.http.rate_limit import seconds_asked_for, seconds_until_refilled
from elt_assets.connectors.http.throttle import Throttle, budget
from elt_assets.connectors.limits import FetchLimits
from elt_assets.connectors.source import Source
from elt_assets.errors import InvalidInput, PageUnreadable, ProviderRefused, ProviderUnavailable
from elt_assets_tests.connectors.directories import (
    SECRET,
    Tokens,
    directory,
    directory_data,
    people,
)
from elt_assets_tests.connectors.serving import Asked, Provider, Reply, as_json

OAUTH = "oauth2_client_credentials"


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_SECRET", SECRET)


def opened(data: dict[str, Any], secrets: Secrets | None = None, **limits: Any) -> Source:
    chosen = {
        "attempts": 3,
        "first_wait": 0.001,
        "timeout": 10.0,
        "page_bytes": 1 << 20,
        "max_pages": 1000,
        **limits,
    }
    return catalog.open_source(
        "rest", data, "users", secrets=secrets or Secrets(), limits=FetchLimits(**chosen)
    )


def count(source: Source) -> int:
    found = sum(page.count for page in source.pages(None))
    source.close()
    return found


# Tokens


def test_one_token_serves_a_whole_sync(provider: Provider) -> None:
    tokens = Tokens()
    provider.answer = directory(people(900), "offset", OAUTH, provider.url, tokens=tokens)
    data = directory_data("offset", OAUTH, provider.url)
    data["rate_limit"] = {"concurrency": 4}
    secrets = Secrets()
    assert count(opened(data, secrets)) == 900
    assert tokens.forms == [{"grant_type": "client_credentials"}]
    assert secrets.redact("got issued-token-1") == "got [secret]"


def test_a_token_is_renewed_before_it_ends(provider: Provider) -> None:
    tokens = Tokens(lifetime=0)
    provider.answer = directory(people(300), "cursor", OAUTH, provider.url, tokens=tokens)
    assert count(opened(directory_data("cursor", OAUTH, provider.url))) == 300
    assert len(tokens.issued) == 3


def test_a_token_that_is_refused_is_replaced_once(provider: Provider) -> None:
    tokens = Tokens()
    serve = directory(people(900), "offset", OAUTH, provider.url, tokens=tokens)

    def answer(asked: Asked) -> Reply:
        if asked.query.get("offset") == "300" and len(tokens.issued) == 1:
            tokens.good.clear()
        return serve(asked)

    provider.answer = answer
    data = directory_data("offset", OAUTH, provider.url)
    data["rate_limit"] = {"concurrency": 4}
    assert count(opened(data)) == 900
    assert len(tokens.issued) == 2


def test_a_token_that_is_always_refused_fails_after_the_second(provider: Provider) -> None:
    tokens = Tokens()

    def answer(asked: Asked) -> Reply:
        return tokens.answer(asked) if asked.path == "/oauth/token" else as_json({}, 401)

    provider.answer = answer
    with pytest.raises(ProviderRefused, match="check what the client whose secret is in"):
        count(opened(directory_data("offset", OAUTH, provider.url)))
    assert len(tokens.issued) == 2


def test_another_token_of_auth_is_not_tried_again_on_a_401(provider: Provider) -> None:
    provider.answer = lambda _: as_json({}, 401)
    with pytest.raises(ProviderRefused):
        count(opened(directory_data("offset", "bearer", provider.url)))
    assert len(provider.asked) == 1


@pytest.mark.parametrize("place", ["basic", "body"])
def test_the_clients_secret_travels_as_configured(provider: Provider, place: str) -> None:
    tokens = Tokens()
    provider.answer = directory(people(1), "none", OAUTH, provider.url, tokens=tokens)
    data = directory_data("none", OAUTH, provider.url)
    data["auth"] |= {"client_auth": place, "scope": "users:read", "params": {"audience": "api"}}
    assert count(opened(data)) == 1
    (form,) = tokens.forms
    assert form | {"scope": "users:read", "audience": "api"} == form
    header = tokens.asked[0].headers.get("authorization")
    if place == "body":
        assert (form["client_id"], form["client_secret"], header) == ("svc", SECRET, None)
    else:
        assert header == "Basic " + base64.b64encode(f"svc:{SECRET}".encode()).decode()
        assert "client_secret" not in form


def test_a_refresh_token_is_exchanged(provider: Provider) -> None:
    tokens = Tokens()
    provider.answer = directory(people(1), "none", OAUTH, provider.url, tokens=tokens)
    data = directory_data("none", OAUTH, provider.url)
    data["auth"] |= {"type": "oauth2_refresh_token", "refresh_token": {"env": "TEST_SECRET"}}
    assert count(opened(data)) == 1
    assert tokens.forms == [{"grant_type": "refresh_token", "refresh_token": SECRET}]


def rotating(provider: Provider, first: str) -> list[str]:
    """Let the provider take each refresh token once; the tokens that it gave."""
    given = [first]

    def answer(asked: Asked) -> Reply:
        if asked.path != "/oauth/token":
            return as_json(people(1))
        form = dict(parse_qsl(asked.body.decode()))
        if form["refresh_token"] != given[-1]:
            return as_json({"error": "invalid_grant"}, 400)
        given.append(f"refresh-{len(given)}")
        token = {"access_token": f"access-{len(given)}", "refresh_token": given[-1]}
        return as_json(token | {"token_type": "Bearer", "expires_in": 0})

    provider.answer = answer
    return given


def with_refresh_token(provider: Provider, ref: dict[str, str]) -> dict[str, Any]:
    data = directory_data("none", OAUTH, provider.url)
    data["auth"] |= {"type": "oauth2_refresh_token", "refresh_token": ref}
    return data


def test_a_refresh_token_that_is_replaced_goes_back_into_its_file(
    provider: Provider, tmp_path: Path
) -> None:
    kept = tmp_path / "kept" / "token"
    kept.parent.mkdir()
    kept.write_text("refresh-first\n")
    link = tmp_path / "token"
    link.symlink_to(kept)
    given = rotating(provider, "refresh-first")
    secrets = Secrets()
    for _ in range(3):
        assert count(opened(with_refresh_token(provider, {"file": str(link)}), secrets)) == 1
        assert kept.read_text() == given[-1]
    assert len(given) == 4
    assert link.is_symlink()
    assert kept.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in kept.parent.iterdir()] == ["token"]
    assert secrets.redact(given[-1]) == "[secret]"


def test_syncs_that_share_a_refresh_token_use_each_one_once(
    provider: Provider, tmp_path: Path
) -> None:
    kept = tmp_path / "token"
    kept.write_text("refresh-first")
    given = rotating(provider, "refresh-first")
    data = with_refresh_token(provider, {"file": str(kept)})
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(lambda _: count(opened(data)), range(12))) == [1] * 12
    assert len(given) == 13
    assert kept.read_text() == given[-1]


def test_a_variable_cannot_take_a_refresh_token_that_is_replaced(provider: Provider) -> None:
    rotating(provider, SECRET)
    with pytest.raises(ProviderRefused, match=r"environment variable TEST_SECRET cannot take") as e:
        count(opened(with_refresh_token(provider, {"env": "TEST_SECRET"})))
    assert "refresh_token: {file: PATH}" in str(e.value)


@pytest.mark.parametrize("new", ["two\nlines", "é", " spaces ", "x" * 20_000])
def test_a_refresh_token_that_cannot_be_sent_is_not_kept(
    provider: Provider, tmp_path: Path, new: str
) -> None:
    kept = tmp_path / "token"
    kept.write_text("refresh-first")
    provider.answer = lambda _: as_json({"access_token": "a", "refresh_token": new})
    with pytest.raises(PageUnreadable, match="refresh token that cannot be sent back"):
        count(opened(with_refresh_token(provider, {"file": str(kept)})))
    assert kept.read_text() == "refresh-first"


@pytest.mark.parametrize(
    ("status", "more"),
    [
        (201, {}),
        (200, {"token_type": None}),
        (200, {"token_type": ""}),
        (200, {"token_type": " bearer "}),
        (200, {"expires_in": "3600"}),
        (200, {"expires_in": ""}),
        (200, {"expires_in": None}),
    ],
)
def test_an_access_token_may_be_given_in_other_words(
    provider: Provider, status: int, more: dict[str, Any]
) -> None:
    def answer(asked: Asked) -> Reply:
        if asked.path == "/oauth/token":
            return as_json({"access_token": "a"} | more, status)
        return as_json(people(1))

    provider.answer = answer
    assert count(opened(directory_data("none", OAUTH, provider.url))) == 1
    assert [asked.path for asked in provider.asked].count("/oauth/token") == 1


@pytest.mark.parametrize(
    ("reply", "error", "words"),
    [
        (as_json({"access_token": "x", "expires_in": "NaN"}), PageUnreadable, "is not a number"),
        (as_json({"access_token": "x", "expires_in": True}), PageUnreadable, "is not a number"),
        (as_json({"error": "invalid_client"}, 401), ProviderRefused, "answered 401"),
        (as_json({}, 503), ProviderUnavailable, "answered 503"),
        (as_json({"token": "x"}), PageUnreadable, "gave no access_token"),
        (Reply(b"<html>"), PageUnreadable, "gave no access_token (an HTML"),
        (as_json({"access_token": "x", "token_type": "mac"}), PageUnreadable, "not of type Bearer"),
        (as_json({"access_token": "x\r\ny: z"}), PageUnreadable, "no header can carry"),
        (Reply(status=302, headers={"Location": "http://evil.test/"}), ProviderRefused, "302"),
    ],
)
def test_a_token_endpoint_that_fails_says_how(
    provider: Provider, reply: Reply, error: type[Exception], words: str
) -> None:
    provider.answer = lambda _: reply
    with pytest.raises(error) as caught:
        count(opened(directory_data("none", OAUTH, provider.url)))
    assert f"the token endpoint {provider.url}" in str(caught.value)
    assert words in str(caught.value)
    assert SECRET not in str(caught.value)
    assert {asked.path for asked in provider.asked} == {"/oauth/token"}


def test_a_token_endpoint_in_the_clear_is_refused() -> None:
    data = directory_data("none", OAUTH, "https://api.example")
    data["auth"]["token_url"] = "http://login.example/token"
    with pytest.raises(InvalidInput, match=r"auth\.token_url is plain http"):
        catalog.validate("rest", data)


# Quotas


NOW = time.time()


@pytest.mark.parametrize(
    ("headers", "in_flight", "seconds"),
    [
        ({}, 1, None),
        ({"x-ratelimit-remaining": "1", "x-ratelimit-reset": "30"}, 1, None),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "30"}, 1, 30),
        ({"x-ratelimit-remaining": "3", "x-ratelimit-reset": "30"}, 4, 30),
        ({"x-rate-limit-remaining": "0", "x-rate-limit-reset": str(NOW + 9000)}, 1, 9000),
        ({"ratelimit-remaining": "0", "ratelimit-reset": "7"}, 1, 7),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(NOW - 100)}, 1, 0),
        (
            {
                "x-ratelimit-remaining": "0",
                "x-ratelimit-reset": "2000000030",
                "date": formatdate(2_000_000_000, usegmt=True),
            },
            1,
            30,
        ),
        ({"x-ratelimit-remaining": "none", "x-ratelimit-reset": "7"}, 1, None),
        ({"x-ratelimit-remaining": "0"}, 1, None),
    ],
)
def test_a_used_up_quota_is_read_from_the_headers(
    headers: dict[str, str], in_flight: int, seconds: float | None
) -> None:
    found = seconds_until_refilled(headers, in_flight)
    assert found == (
        None if seconds is None else pytest.approx(seconds, abs=1000 if seconds > 1000 else 0)
    )


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "4.6"}, 4.6),
        ({"retry-after": " 5 "}, 5),
        ({"retry-after": "0"}, 0),
        ({"retry-after": "1500ms"}, 1.5),
        ({"retry-after": "7s"}, 7),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"x-ms-retry-after-ms": "1200"}, 1.2),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        (
            {
                "retry-after": formatdate(2_000_000_030, usegmt=True),
                "date": formatdate(2_000_000_000, usegmt=True),
            },
            30,
        ),
        (
            {
                "retry-after": "2033-05-18T03:33:50Z",
                "date": formatdate(2_000_000_000, usegmt=True),
            },
            30,
        ),
        ({"retry-after": "2000000030", "date": formatdate(2_000_000_000, usegmt=True)}, 30),
        ({"retry-after": "2000000030000", "date": formatdate(2_000_000_000, usegmt=True)}, 30),
        ({"retry-after": formatdate(1_000_000_000, usegmt=True)}, 0),
    ],
)
def test_when_to_come_back_is_understood_however_it_is_said(
    headers: dict[str, str], seconds: float | None
) -> None:
    found = seconds_asked_for(headers)
    assert found == (None if seconds is None else pytest.approx(seconds))


def test_too_many_at_once_is_no_quota_that_is_refilled_later() -> None:
    headers = {
        "x-rate-limit-limit": "0",
        "x-rate-limit-remaining": "0",
        "x-rate-limit-reset": str(NOW + 9000),
    }
    assert seconds_until_refilled(headers, 1) is None


def test_a_used_up_quota_is_waited_out_before_the_next_request(provider: Provider) -> None:
    at: list[float] = []
    serve = directory(people(200), "cursor", "bearer", provider.url)

    def answer(asked: Asked) -> Reply:
        at.append(time.monotonic())
        reply = serve(asked)
        reply.headers.update({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "0.3"})
        return reply

    provider.answer = answer
    assert count(opened(directory_data("cursor", "bearer", provider.url))) == 200
    assert at[1] - at[0] >= 0.3


def test_a_quota_that_stays_used_up_for_long_is_left_to_the_next_attempt(
    provider: Provider,
) -> None:
    serve = directory(people(200), "cursor", "bearer", provider.url)

    def answer(asked: Asked) -> Reply:
        reply = serve(asked)
        reply.headers.update({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1800"})
        return reply

    provider.answer = answer
    source = opened(directory_data("cursor", "bearer", provider.url))
    pages = source.pages(None)
    next(pages)
    with pytest.raises(ProviderUnavailable, match="quota is used up for 1800 s"):
        next(pages)
    source.close()
    assert len(provider.asked) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"Retry-After": "0"},
        {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "0.01"},
    ],
)
def test_a_403_that_means_slow_down_is_tried_again(
    provider: Provider, headers: dict[str, str]
) -> None:
    serve = directory(people(1), "none", "bearer", provider.url)

    def answer(asked: Asked) -> Reply:
        if asked.number == 1:
            reply = as_json({"message": "API rate limit exceeded"}, 403)
            reply.headers.update(headers)
            return reply
        return serve(asked)

    provider.answer = answer
    assert count(opened(directory_data("none", "bearer", provider.url))) == 1


def test_a_400_is_tried_again_if_it_speaks_of_a_rate_limit_alone(provider: Provider) -> None:
    serve = directory(people(1), "none", "bearer", provider.url)
    limited = {"errors": [{"message": "Slow down", "extensions": {"code": "RATELIMITED"}}]}
    for refusal, tries in ((limited, 2), ({"errors": [{"message": "Bad query"}]}, 1)):
        provider.asked.clear()
        provider.answer = lambda asked, refusal=refusal: (
            as_json(refusal, 400) if asked.number == 1 else serve(asked)
        )
        with contextlib.suppress(ProviderRefused):
            count(opened(directory_data("none", "bearer", provider.url)))
        assert len(provider.asked) == tries


@pytest.mark.parametrize(
    "message",
    [
        "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.",
        "You have triggered an abuse detection mechanism. Please wait.",
    ],
)
def test_a_secondary_limit_without_a_time_means_a_minute(message: str) -> None:
    body = json.dumps({"message": message}).encode()
    assert asks_to_slow_down(body)
    assert unsaid_wait(body) == 60
    assert unsaid_wait(b'{"message": "API rate limit exceeded"}') is None
    assert not asks_to_slow_down(b'{"message": "Must have admin rights to the organization"}')


@pytest.mark.parametrize(
    "body",
    [
        {"ok": False, "error": "ratelimited"},
        {"error": {"code": "TooManyRequests"}},
        {"errorCode": "rate_limit_exceeded"},
    ],
)
@pytest.mark.parametrize("headers", [{}, {"Retry-After": "0.02"}])
def test_a_200_that_means_slow_down_is_tried_again(
    provider: Provider, body: dict[str, Any], headers: dict[str, str]
) -> None:
    serve = directory(people(1), "none", "bearer", provider.url)

    def answer(asked: Asked) -> Reply:
        if asked.number > 1:
            return serve(asked)
        reply = as_json(body)
        reply.headers.update(headers)
        return reply

    provider.answer = answer
    assert count(opened(directory_data("none", "bearer", provider.url))) == 1
    assert len(provider.asked) == 2


def test_all_integrations_of_an_app_share_its_budget(provider: Provider, tmp_path: Path) -> None:
    """Across threads here; processes take the same lock on the same file."""
    at: list[float] = []
    serve = directory(people(100), "none", "bearer", provider.url)

    def answer(asked: Asked) -> Reply:
        at.append(time.monotonic())
        return serve(asked)

    provider.answer = answer
    data = directory_data("none", "bearer", provider.url)
    data["rate_limit"] = {"requests_per_second": 20, "concurrency": 4}
    # Not from the first arrival, which a busy machine may delay more than the others.
    began = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: count(opened(data, budgets=tmp_path / "budgets")), range(8)))
    assert max(at) - began >= 7 * 0.05 - 0.01
    (file,) = (tmp_path / "budgets").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_moment_that_cannot_be_meant_stops_no_app(tmp_path: Path) -> None:
    held = Throttle(None, tmp_path / "held")
    held.hold(1e9)
    assert held.reserve() <= 3600
    for name, content in (("far", struct.pack("<d", time.time() + 1e9)), ("torn", b"?")):
        (tmp_path / name).write_bytes(content)
        for rate in (None, 1.0):
            assert Throttle(rate, tmp_path / name).reserve() == 0


def test_an_app_that_another_process_holds_is_seen_to_be_held(tmp_path: Path) -> None:
    throttle = Throttle(None, tmp_path / "app")
    assert throttle.reserve() == 0
    hold = "from pathlib import Path; from elt_assets.connectors.http.throttle import Throttle; "
    hold += f"Throttle(None, Path({str(tmp_path / 'app')!r})).hold(600)"
    subprocess.run([sys.executable, "-c", hold], check=True)
    while throttle.reserve() == 0:
        time.sleep(0.01)
    assert throttle.reserve() > 500


def test_another_app_or_no_app_has_a_budget_of_its_own(tmp_path: Path) -> None:
    assert budget(tmp_path) is None
    assert budget(None, "a") is None
    assert budget(tmp_path, "a", 1) == budget(tmp_path, "a", 1) != budget(tmp_path, "a", 2)


@pytest.mark.parametrize(
    ("coding", "sent"),
    [
        ("UTF-8", bytes),
        ("utf8, identity", bytes),
        ("none", bytes),
        ("gzip", bytes),
        ("gzip", gzip.compress),
        ("X-GZIP", gzip.compress),
        ("gzip, utf-8", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda body: zlib.compress(body, wbits=-15)),
        ("deflate", bytes),
    ],
)
def test_a_body_is_read_whatever_its_coding_is_called(
    provider: Provider, coding: str, sent: Callable[[bytes], bytes]
) -> None:
    serve = directory(people(300), "none", "bearer", provider.url)

    def answer(asked: Asked) -> Reply:
        reply = serve(asked)
        return Reply(sent(reply.body), headers=reply.headers | {"Content-Encoding": coding})

    provider.answer = answer
    assert count(opened(directory_data("none", "bearer", provider.url))) == 300


def test_a_body_in_an_unknown_coding_is_refused(provider: Provider) -> None:
    provider.answer = lambda _: Reply(b"[]", headers={"Content-Encoding": "br"})
    said = "compressed as 'br', but the request accepts only gzip"
    with pytest.raises(PageUnreadable, match=said):
        count(opened(directory_data("none", "bearer", provider.url)))


def test_all_pages_share_one_budget_of_further_tries(provider: Provider) -> None:
    serve = directory(people(1000), "cursor", "bearer", provider.url)

    def answer(asked: Asked) -> Reply:
        return as_json({}, 503) if asked.number % 2 else serve(asked)

    provider.answer = answer
    source = opened(directory_data("cursor", "bearer", provider.url), retry_budget=3)
    pages = source.pages(None)
    assert [next(pages).count for _ in range(3)] == [100] * 3
    with pytest.raises(ProviderUnavailable, match="all 3 further tries are used up"):
        next(pages)
    source.close()
