"""Where requests and credentials may go."""

from __future__ import annotations

import pytest

from elt_assets.connectors.http.origin import Origin, Origins
from elt_assets.errors import PageUnreadable

OWN = Origin.of("https://api.example.com/v1")


def test_an_origin_is_scheme_host_and_port_and_nothing_else() -> None:
    assert Origin.of("HTTPS://API.example.com:443/other?x=1") == OWN
    for other in (
        "http://api.example.com/",
        "https://api.example.com:8443/",
        "https://example.com/",
        "https://api.example.com.evil.test/",
    ):
        assert Origin.of(other) != OWN


@pytest.mark.parametrize(
    "url",
    [
        "/users",
        "users",
        "ftp://x/",
        "https://",
        "https://user:secret@api.example.com/",
        "https://api.example.com\\@evil.test/",
        "https://api.example.com/\nHost: evil",
        "https://api example.com/",
        "file:///etc/passwd",
        "https://x:99999/",
    ],
)
def test_what_is_not_a_plain_web_address_has_no_origin(url: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Origin.of(url)


@pytest.mark.parametrize(
    ("url", "private"),
    [
        ("https://x.example", True),
        ("http://127.0.0.1:8000", True),
        ("http://127.8.8.8", True),
        ("http://[::1]:80", True),
        ("http://localhost", True),
        ("http://x.example", False),
        ("http://10.0.0.1", False),
        ("http://localhost.evil.test", False),
        ("http://2130706433", False),
    ],
)
def test_only_tls_and_this_machine_are_private(url: str, private: bool) -> None:
    assert Origin.of(url).is_private is private


def test_credentials_stay_with_their_own_origin() -> None:
    origins = Origins(OWN, frozenset({"cdn.example.net", "files.example.net:8443"}))
    assert origins.may_carry_credentials("https://api.example.com/v1/users?page=2", "it")
    assert not origins.may_carry_credentials("https://cdn.example.net/p2", "it")
    assert not origins.may_carry_credentials("https://files.example.net:8443/p2", "it")
    with pytest.raises(PageUnreadable, match=r"it leads to https://files\.example\.net, not to"):
        origins.may_carry_credentials("https://files.example.net/p2", "it")


def test_the_own_host_in_the_clear_is_another_origin() -> None:
    with pytest.raises(PageUnreadable, match=r"leads to http://api\.example\.com"):
        Origins(OWN).may_carry_credentials("http://api.example.com/v1/users", "it")


def test_an_allowed_host_in_the_clear_needs_plain_http_to_be_allowed() -> None:
    url = "http://cdn.example.net/p2"
    allowed = frozenset({"cdn.example.net"})
    with pytest.raises(PageUnreadable, match="allow_plain_http"):
        Origins(OWN, allowed).may_carry_credentials(url, "it")
    assert not Origins(OWN, allowed, allow_plain_http=True).may_carry_credentials(url, "it")


def test_a_refused_link_is_shown_without_its_path_and_query() -> None:
    with pytest.raises(PageUnreadable) as caught:
        Origins(OWN).may_carry_credentials("https://evil.test/p?token=hush", "it")
    assert "hush" not in str(caught.value)
