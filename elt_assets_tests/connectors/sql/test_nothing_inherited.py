"""A server that a tenant controls gets nothing of the platform's own account."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from elt_assets.config.settings import load_settings
from elt_assets.connectors.limits import FetchLimits
from elt_assets.connectors.own_places import DatabasePlace, OwnPlaces
from elt_assets.errors import InvalidInput, PermanentError, SyncError
from elt_assets.sync.service import SyncService
from elt_assets_tests.connectors.sql.conftest import SqliteFile, opened, read
from elt_assets_tests.testbed import servers

pytestmark = pytest.mark.slow

SECRET = "of-the-platform"


class Rogue:
    """Accepts sessions and keeps every byte that it is sent."""

    def __init__(self, kind: str, speak: Callable[[socket.socket, Rogue], None]) -> None:
        self.type = kind
        self.received = bytearray()
        self.certificate: bytes | None = None
        self.sessions = 0
        self.changes: dict[str, Any] = {}
        self._speak = speak
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def connection(self) -> dict[str, Any]:
        given = {
            "type": self.type,
            "host": "127.0.0.1",
            "port": self.port,
            "database": "hr",
            "user": "tenant",
            "tls": "off",
        }
        return given | self.changes

    def close(self) -> None:
        self._listening.close()

    def _serve(self) -> None:
        while True:
            try:
                session, _ = self._listening.accept()
            except OSError:
                return
            self.sessions += 1
            with closing(session), suppress(OSError):
                session.settimeout(10)
                self._speak(session, self)

    def take(self, session: socket.socket) -> bytes:
        found = session.recv(65536)
        self.received += found
        return found


def postgresql_that_asks_for_the_password(session: socket.socket, rogue: Rogue) -> None:
    first = rogue.take(session)
    if struct.unpack("!I", first[4:8])[0] == 80877103:
        session.sendall(b"N")
        first = rogue.take(session)
    session.sendall(b"R" + struct.pack("!II", 8, 3))
    rogue.take(session)


def mysql_that_asks_for_the_password(session: socket.socket, rogue: Rogue) -> None:
    # Protocol 10, of a server without TLS: PROTOCOL_41, SECURE_CONNECTION, PLUGIN_AUTH.
    greeting = b"\x0a8.0.0\x00" + struct.pack("<I", 1) + b"12345678\x00"
    greeting += struct.pack("<HBHHB", 0x8200 | 0x0008, 45, 2, 0x0008, 21) + b"\x00" * 10
    greeting += b"123456789012\x00mysql_native_password\x00"
    session.sendall(struct.pack("<I", len(greeting))[:3] + b"\x00" + greeting)
    rogue.take(session)
    switch = b"\xfemysql_clear_password\x00"
    session.sendall(struct.pack("<I", len(switch))[:3] + b"\x02" + switch)
    rogue.take(session)


@pytest.fixture(params=["postgresql", "mysql"])
def rogue(request: pytest.FixtureRequest) -> Iterator[Rogue]:
    speak = {
        "postgresql": postgresql_that_asks_for_the_password,
        "mysql": mysql_that_asks_for_the_password,
    }[request.param]
    made = Rogue(request.param, speak)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def account_of_the_platform(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Every place in which a driver looks for what it was not given."""
    home = tmp_path / "account"
    home.mkdir()
    passwords = home / ".pgpass"
    passwords.write_text(f"*:*:*:*:{SECRET}\n")
    passwords.chmod(0o600)
    services = home / ".pg_service.conf"
    services.write_text(f"[own]\nuser={SECRET}\npassword={SECRET}\napplication_name={SECRET}\n")
    options = home / ".my.cnf"
    options.write_text(f"[client]\nuser={SECRET}\npassword={SECRET}\n")
    for name, value in {
        "HOME": str(home),
        "PGPASSFILE": str(passwords),
        "PGSERVICE": "own",
        "PGSERVICEFILE": str(services),
        "PGPASSWORD": SECRET,
        "PGUSER": SECRET,
        "PGDATABASE": SECRET,
        "PGAPPNAME": SECRET,
        "PGOPTIONS": f"-c application_name={SECRET}",
        "MYSQL_PWD": SECRET,
        "USER": SECRET,
        "LOGNAME": SECRET,
    }.items():
        monkeypatch.setenv(name, value)


def test_a_server_without_a_configured_password_gets_none(rogue: Rogue) -> None:
    with pytest.raises(SyncError):
        read(opened(rogue))  # type: ignore[arg-type]
    assert b"tenant" in rogue.received, "it was reached"
    assert SECRET.encode() not in rogue.received


def test_an_address_without_a_user_reaches_nobody(
    rogue: Rogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    for address in ("127.0.0.1:{port}/hr", "tenant@127.0.0.1:{port}", "tenant@/hr"):
        monkeypatch.setenv("HR_ADDRESS", f"{rogue.type}://{address.format(port=rogue.port)}")
        by_address = ByAddress(rogue.type)
        with pytest.raises(InvalidInput, match=r"is incomplete; write \w+://user:password@host"):
            read(opened(by_address))  # type: ignore[arg-type]
    assert rogue.sessions == 0


class ByAddress:
    def __init__(self, kind: str) -> None:
        self.type = kind

    def connection(self) -> dict[str, Any]:
        return {"type": self.type, "uri": {"env": "HR_ADDRESS"}}


@pytest.mark.parametrize("tls", ["verify", "require", None])
def test_no_password_is_sent_in_clear_unless_tls_is_refused_by_name(
    rogue: Rogue, monkeypatch: pytest.MonkeyPatch, tls: str | None
) -> None:
    monkeypatch.setenv("HR_PASSWORD", "of-the-tenant")
    rogue.changes = {"password": {"env": "HR_PASSWORD"}, "tls": tls or "verify"}
    source: Any = rogue
    if tls is None:
        monkeypatch.setenv(
            "HR_ADDRESS", f"{rogue.type}://tenant:of-the-tenant@127.0.0.1:{rogue.port}/hr"
        )
        source = ByAddress(rogue.type)
    with pytest.raises(SyncError):
        read(opened(source))
    assert rogue.sessions, "it was reached"
    assert b"of-the-tenant" not in rogue.received


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("sslmode=prefer", "may send everything in clear"),
        ("passfile=/home/elt/.pgpass", "has the option 'passfile'"),
        ("service=own", "has the option 'service'"),
        ("sslcert=/home/elt/client.crt", "has the option 'sslcert'"),
        ("host=/var/run/postgresql", "has the option 'host'"),
    ],
)
def test_an_address_takes_no_option_that_leads_to_the_platforms_own(
    monkeypatch: pytest.MonkeyPatch, option: str, says: str
) -> None:
    monkeypatch.setenv("HR_ADDRESS", f"postgresql://tenant:pw@127.0.0.1:1/hr?{option}")
    with pytest.raises(InvalidInput, match=says):
        read(opened(ByAddress("postgresql")))  # type: ignore[arg-type]


@pytest.mark.parametrize("host", ["/var/run/postgresql", "@socket", "a,b", " "])
def test_a_socket_of_this_machine_is_no_server(rogue: Rogue, host: str) -> None:
    """There the system itself says who connects: the account of the platform."""
    rogue.changes = {"host": host}
    with pytest.raises(InvalidInput, match=r"connection\.host"):
        read(opened(rogue))  # type: ignore[arg-type]
    assert rogue.sessions == 0


def test_the_platforms_client_certificate_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgresql: servers.Server
) -> None:
    certificate, key = postgresql.authority, tmp_path / "key.pem"
    key.write_bytes(certificate.with_name("key.pem").read_bytes())
    key.chmod(0o600)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(certificate)
    context.verify_mode = ssl.CERT_OPTIONAL
    encrypted: list[bytes | None] = []

    def speak(session: socket.socket, rogue: Rogue) -> None:
        rogue.take(session)
        session.sendall(b"S")
        with context.wrap_socket(session, server_side=True) as wrapped:
            encrypted.append(wrapped.getpeercert(binary_form=True))

    monkeypatch.setenv("PGSSLCERT", str(certificate))
    monkeypatch.setenv("PGSSLKEY", str(key))
    rogue = Rogue("postgresql", speak)
    rogue.changes = {"tls": "require"}
    with closing(rogue), pytest.raises(SyncError):
        read(opened(rogue))  # type: ignore[arg-type]
    assert encrypted == [None]


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "127.0.0.2", "0.0.0.0", "::ffff:127.0.0.1"]
)
def test_the_platforms_own_database_is_no_source_whatever_it_is_called(
    own_schema: None, postgresql: servers.Server, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setenv("HR_PASSWORD", servers.PASSWORD)
    postgresql.execute("DROP TABLE IF EXISTS users", "CREATE TABLE users (id INTEGER)")
    source = opened_by_the_platform(postgresql.connection() | {"host": host})
    with pytest.raises(PermanentError, match="is the platform's own"):
        list(source.pages(None))
    other = opened_by_the_platform(
        postgresql.connection() | {"host": host, "database": "template1"}
    )
    with pytest.raises(SyncError, match=r'relation "users" does not exist|refused|Network'):
        list(other.pages(None))


def opened_by_the_platform(connection: dict[str, Any]) -> Any:
    """A source as a registered integration has it."""
    from elt_assets.identifiers import IntegrationRef
    from elt_assets.sync.streams import USERS

    stream = {"query": "SELECT * FROM users", "key": "id", "fields": {"external_id": "id"}}
    ref = IntegrationRef("acme", "hr")
    with SyncService.open() as platform:
        platform.registry.add(
            ref, "sql", {"connection": connection, "streams": {"users": stream}}, if_absent=True
        )
        platform.registry.update(ref, {"connection": connection, "streams": {"users": stream}})
        return platform._source(USERS, platform.registry.get(ref))


def test_a_closed_network_is_closed_to_databases_too(
    rogue: Rogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ELT_ASSETS_EGRESS", "public")
    source = opened_by_the_platform(rogue.connection() | {"host": "localhost"})
    with pytest.raises(SyncError, match="ELT_ASSETS_EGRESS does not open"):
        list(source.pages(None))
    assert rogue.sessions == 0


def test_a_name_of_the_platforms_host_is_looked_up() -> None:
    own = OwnPlaces(Path("/nowhere"), databases=(DatabasePlace("localhost", 5432, "elt"),))
    with pytest.raises(PermanentError):
        own.refuse_database(["127.0.0.1"], 5432, "elt")
    own.refuse_database(["127.0.0.1"], 5433, "elt")
    own.refuse_database(["127.0.0.1"], 5432, "hr")
    own.refuse_database(["192.0.2.1"], 5432, "elt")


def test_another_name_of_a_file_of_the_platform_is_no_source(tmp_path: Path) -> None:
    settings = load_settings()
    with SyncService.open(settings) as platform:
        assert platform.database.exists
    hard, soft = tmp_path / "hard.db", tmp_path / "soft.db"
    hard.hardlink_to(settings.home / "oltp.db")
    soft.symlink_to(settings.home / "oltp.db")
    for name in (hard, soft):
        with pytest.raises(PermanentError, match="a file of the platform itself"):
            read(
                opened(
                    SqliteFile(name),
                    "SELECT id FROM connected_integrations",
                    own=FetchLimits.of(settings).own,
                )
            )
