"""Connecting to a directory: TLS, accounts, the egress policy, limits, and servers that lie."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from elt_assets.config.egress import Egress
from elt_assets.connectors.http.outgoing import Outgoing
from elt_assets.errors import (
    PageUnreadable,
    ProviderRefused,
    ProviderUnavailable,
    SecretMissing,
)
from elt_assets_tests.connectors.ldap.conftest import data, opened, read
from elt_assets_tests.connectors.ldap.scripted import Asked, Said, done, entry, scripted
from elt_assets_tests.testbed.openldap import BASE, OpenLdap


@pytest.mark.parametrize("tls", ["ldaps", "start_tls"])
def test_a_server_is_read_over_tls_by_its_authority(company: OpenLdap, tls: str) -> None:
    port = company.tls_port if tls == "ldaps" else company.port
    connection = {"tls": tls, "port": port, "tls_ca": str(company.authority)}
    assert len(read(opened(data(company, connection)))) == 95


@pytest.mark.parametrize("tls", ["ldaps", "start_tls"])
def test_a_certificate_of_an_unknown_authority_is_refused(company: OpenLdap, tls: str) -> None:
    port = company.tls_port if tls == "ldaps" else company.port
    with pytest.raises(ProviderRefused, match="cannot be verified: self-signed cert"):
        read(opened(data(company, {"tls": tls, "port": port})))


def test_a_certificate_of_another_name_is_refused(company: OpenLdap) -> None:
    connection = {
        "tls": "ldaps",
        "host": "localhost",
        "port": company.tls_port,
        "tls_ca": str(company.authority),
    }
    with pytest.raises(ProviderRefused, match="Hostname mismatch"):
        read(opened(data(company, connection)))


def test_a_server_without_tls_is_an_error(company: OpenLdap) -> None:
    connection = {"tls": "ldaps", "tls_ca": str(company.authority)}
    with pytest.raises(ProviderUnavailable, match="TLS failed"):
        read(opened(data(company, connection)))


def test_an_authority_that_is_no_file_is_named(company: OpenLdap, tmp_path: Path) -> None:
    connection = {"tls": "ldaps", "port": company.tls_port, "tls_ca": str(tmp_path / "none.pem")}
    with pytest.raises(Exception, match=r"none.pem cannot be read as certificates"):
        read(opened(data(company, connection)))


def test_a_wrong_password_is_refused_and_not_shown(
    company: OpenLdap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LDAP_PASSWORD", "wrong-secret")
    with pytest.raises(ProviderRefused, match="refused user and password") as refused:
        read(opened(data(company)))
    assert "wrong-secret" not in str(refused.value)


def test_an_empty_password_is_not_sent(company: OpenLdap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LDAP_PASSWORD", "")
    with pytest.raises((SecretMissing, ProviderRefused), match="is not set"):
        read(opened(data(company)))


def test_an_address_that_the_operator_keeps_closed_is_not_connected_to(company: OpenLdap) -> None:
    closed = Outgoing(Egress.parse("public"), "acme")
    with pytest.raises(ProviderRefused, match="ELT_ASSETS_EGRESS"):
        read(opened(data(company), outgoing=closed))


def test_a_server_that_is_not_there_is_unavailable(company: OpenLdap) -> None:
    with pytest.raises(ProviderUnavailable, match="port 1 cannot be reached"):
        read(opened(data(company, {"port": 1})))


def test_a_page_of_more_bytes_than_allowed_is_an_error(company: OpenLdap) -> None:
    with pytest.raises(PageUnreadable, match="more bytes for one page than ELT_ASSETS_PAGE_BYTES"):
        read(opened(data(company), page_bytes=1000))


def drops(asked: Asked) -> Iterator[bytes]:
    """A server that sends one byte a moment, for ever."""
    message = entry(asked.number, "cn=a", {"cn": [b"x" * 100_000]})
    for at in range(len(message)):
        yield message[at : at + 1]
        waiting.wait(0.02)


waiting = threading.Event()


def nested(depth: int) -> bytes:
    """A list in a list in a list."""
    inner = b""
    for _ in range(depth):
        inner = b"\x30\x84" + len(inner).to_bytes(4, "big") + inner
    return inner


def rogue(port: int) -> Any:
    """provider_data of a scripted server."""
    return {
        "connection": {"host": "127.0.0.1", "port": port, "tls": "off"},
        "directory": "openldap",
        "base": BASE,
        "streams": {
            "users": {"filter": "(cn=*)", "fields": {"external_id": "entryUUID", "name": "cn"}}
        },
    }


def test_a_server_that_sends_a_byte_a_moment_meets_the_deadline() -> None:
    with (
        scripted(lambda asked: Said(raw=drops(asked))) as port,
        pytest.raises(ProviderUnavailable, match=r"was still answering after 0.3 s"),
    ):
        read(opened(rogue(port), timeout=0.3))


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak LDAP"),
        (b"\x30\x84\x7f\xff\xff\xff", "sends more bytes for one page"),
        (b"\x30\x80\x00\x00", "does not speak LDAP"),
        (b"\x30\x03\x02\x01\x02", "is no LDAP message"),
        (b"\x30\x05\x02\x01\x02\x64\x7f", "is no LDAP message"),
        (b"\x30\x82\x03\xe8" + b"\x30\x80" * 500, "is no LDAP message"),
        (nested(5_000), "is no LDAP message"),
        (done(99), "answered a request that was not sent"),
    ],
)
def test_what_is_no_answer_is_an_error(raw: bytes, words: str) -> None:
    with (
        scripted(lambda _: Said(raw=[raw])) as port,
        pytest.raises(PageUnreadable, match=words),
    ):
        read(opened(rogue(port)))


def test_a_listing_that_ends_in_the_middle_is_an_error() -> None:
    def script(asked: Asked) -> Said:
        return Said(raw=[entry(asked.number, "cn=a", {"cn": [b"a"]}), b"\x30\x20\x02"])

    with (
        scripted(script) as port,
        pytest.raises(ProviderUnavailable, match=r"ended the connection|still answering"),
    ):
        read(opened(rogue(port), timeout=0.5))


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (12, ProviderRefused, "cannot page its answers"),
        (50, ProviderRefused, "does not give this account the right"),
        (51, ProviderUnavailable, "is busy"),
        (118, ProviderRefused, "refused"),
    ],
)
def test_what_a_server_says_instead_of_entries_is_an_error(
    code: int, kind: type[Exception], words: str
) -> None:
    with scripted(lambda _: Said(code=code)) as port, pytest.raises(kind, match=words):
        read(opened(rogue(port)))


def test_an_answer_that_was_not_paged_is_incomplete() -> None:
    one = {"cn=a": {"entryUUID": [b"1"], "cn": [b"a"]}}
    with scripted(lambda _: Said(one, paged=False)) as port:
        (page,) = opened(rogue(port)).pages(None)
    assert page.cut_short == "the directory ignored that its answer was requested in pages"
