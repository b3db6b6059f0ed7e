"""What only a server can do: rights, time, types, and going away."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest

from elt_assets.connectors.http.deadline import Deadline
from elt_assets.connectors.sql.server_address import ServerAddress, connected
from elt_assets.errors import InvalidInput, ProviderRefused, ProviderUnavailable, SyncError
from elt_assets_tests.connectors.sql.conftest import opened, read
from elt_assets_tests.testbed.servers import PASSWORD, Server

pytestmark = pytest.mark.slow


@pytest.fixture(params=["postgresql", "mariadb"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setenv("HR_PASSWORD", PASSWORD)
    found: Server = request.getfixturevalue(request.param)
    found.execute("DROP TABLE IF EXISTS users", "CREATE TABLE users (id INTEGER)")
    found.execute("INSERT INTO users VALUES (1)")
    return found


class Changed:
    """A server reached in another way."""

    def __init__(self, server: Server, **changes: Any) -> None:
        self.type = server.type
        self._connection = {**server.connection(), **changes}

    def connection(self) -> dict[str, Any]:
        return {name: value for name, value in self._connection.items() if value is not None}


def test_a_wrong_password_is_permanent_and_never_repeated(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HR_PASSWORD", "wr0ng-of-the-tests")
    with pytest.raises(ProviderRefused) as caught:
        read(opened(server))
    assert "owner" in str(caught.value)
    assert "wr0ng" not in str(caught.value)


def test_a_server_that_is_not_there_is_tried_again_later(server: Server) -> None:
    with pytest.raises(ProviderUnavailable, match="refused"):
        read(opened(replace(server, port=1)))


@contextmanager
def silent_and_answering() -> Iterator[tuple[int, tuple[str, str]]]:
    """Two addresses with a port: one takes no connection and refuses none, one takes them."""
    with (
        socket.socket() as silent,
        socket.socket() as first,
        socket.create_server(("127.0.0.3", 0)) as answering,
    ):
        port = answering.getsockname()[1]
        silent.bind(("127.0.0.2", port))
        silent.listen(0)
        # Who waits to be accepted keeps all others waiting.
        first.connect(("127.0.0.2", port))
        yield port, ("127.0.0.2", "127.0.0.3")


def test_all_addresses_of_a_name_share_the_time(server: Server) -> None:
    with silent_and_answering() as (port, addresses):
        at = ServerAddress("hr.example", addresses, port, "hr", "owner", "", "off", None)
        with (
            Deadline(0.3) as deadline,
            pytest.raises(ProviderUnavailable, match=r"hr\.example cannot be reached"),
        ):
            connected(at, deadline, server.type)


def test_an_unknown_database_is_permanent(server: Server) -> None:
    with pytest.raises(ProviderRefused, match="nowhere"):
        read(opened(Changed(server, database="nowhere")))  # type: ignore[arg-type]


def test_a_query_that_takes_too_long_is_cancelled(server: Server) -> None:
    sleep = "pg_sleep(600)" if server.type == "postgresql" else "sleep(600)"
    query = f"SELECT id, {sleep} AS s FROM users"
    with pytest.raises(ProviderUnavailable, match="longer than statement_timeout"):
        read(opened(server, query, statement_timeout=0.2))


def test_the_session_cannot_write_whatever_the_query_calls(server: Server) -> None:
    """A function that writes is a SELECT to every parser."""
    if server.type == "postgresql":
        server.execute(
            "CREATE OR REPLACE FUNCTION hire() RETURNS INTEGER LANGUAGE SQL AS"
            " 'INSERT INTO users VALUES (2) RETURNING id'"
        )
    else:
        server.execute(
            "DROP FUNCTION IF EXISTS hire",
            "CREATE FUNCTION hire() RETURNS INTEGER MODIFIES SQL DATA"
            " BEGIN INSERT INTO users VALUES (2); RETURN 2; END",
        )
    with pytest.raises(ProviderRefused, match=r"(?i)read.only"):
        read(opened(server, "SELECT hire() AS id"))
    assert read(opened(server)) == [{"id": 1}]


def test_a_value_that_cannot_be_converted_is_not_repeated(
    postgresql: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HR_PASSWORD", PASSWORD)
    with pytest.raises(ProviderRefused, match="cannot convert") as caught:
        read(opened(postgresql, "SELECT CAST('private' AS integer) AS id"))
    assert "private" not in str(caught.value)


def test_a_whole_address_can_be_a_secret(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    tail = "?sslmode=disable" if server.type == "postgresql" else ""
    address = f"{server.type}://owner:{quote(PASSWORD)}@127.0.0.1:{server.port}/hr{tail}"
    monkeypatch.setenv("HR_ADDRESS", address)

    class ByAddress:
        type = server.type

        def connection(self) -> dict[str, Any]:
            return {"type": server.type, "uri": {"env": "HR_ADDRESS"}, "tls": "off"}

    assert read(opened(ByAddress())) == [{"id": 1}]  # type: ignore[arg-type]
    monkeypatch.setenv("HR_ADDRESS", "http://example.com/")
    with pytest.raises(InvalidInput, match="does not lead to a"):
        read(opened(ByAddress()))  # type: ignore[arg-type]


def test_a_server_must_prove_who_it_is_unless_told_otherwise(server: Server) -> None:
    with pytest.raises(SyncError, match=r"(?i)certificate verify failed"):
        read(opened(Changed(server, tls=None)))  # type: ignore[arg-type]
    known = Changed(server, tls=None, tls_ca=str(server.authority))
    assert read(opened(known)) == [{"id": 1}]  # type: ignore[arg-type]
    with pytest.raises(SyncError, match=r"(?i)certificate|host"):
        read(opened(Changed(server, tls=None, tls_ca=str(server.authority), host="localhost")))  # type: ignore[arg-type]


def test_encryption_alone_can_be_asked_for(server: Server) -> None:
    query = (
        "SELECT 1 AS id, ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        if server.type == "postgresql"
        else "SELECT 1 AS id, variable_value <> '' AS `ssl` FROM"
        " information_schema.session_status WHERE variable_name = 'ssl_cipher'"
    )
    for tls, encrypted in (("require", 1), ("off", 0)):
        (row,) = read(opened(Changed(server, tls=tls), query))  # type: ignore[arg-type]
        assert row["ssl"] == encrypted


def test_types_of_postgresql_become_their_usual_json(
    postgresql: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HR_PASSWORD", PASSWORD)
    query = """
        SELECT '6ba7b810-9dad-11d1-80b4-00c04fd430c8'::uuid AS id, true AS active,
            '{"a": [1]}'::jsonb AS profile, ARRAY['x', NULL] AS tags,
            '2026-01-02 03:04:05+02'::timestamptz AS at, 1.50::numeric AS score
    """
    assert read(opened(postgresql, query)) == [
        {
            "id": "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
            "active": True,
            "profile": {"a": [1]},
            "tags": ["x", None],
            "at": "2026-01-02T01:04:05+00:00",
            "score": 1.5,
        }
    ]


def test_types_of_mariadb_become_their_usual_json(
    mariadb: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HR_PASSWORD", PASSWORD)
    mariadb.execute(
        "DROP TABLE IF EXISTS users",
        "CREATE TABLE users (id BINARY(4), active BIT(1), flag BOOLEAN, score DECIMAL(9, 2),"
        " at DATETIME(3), kind ENUM('a', 'b'))",
        "INSERT INTO users VALUES ('ab', 1, true, 1.5, '2026-01-02 03:04:05.5', 'b'),"
        " ('ac', 0, false, NULL, NULL, NULL)",
    )
    first, second = read(opened(mariadb, page_size=1))
    assert first == {
        "id": "YWIAAA==",
        "active": 1,
        "flag": 1,
        "score": "1.50",
        "at": "2026-01-02T03:04:05.500000",
        "kind": "b",
    }
    assert (second["active"], second["score"]) == (0, None)


def test_a_key_that_cannot_be_paged_by_says_what_to_do(
    postgresql: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HR_PASSWORD", PASSWORD)
    with pytest.raises(ProviderRefused, match=r"type double precision; .* cast it in the query"):
        read(opened(postgresql, "SELECT 1.5::float8 AS id"))
