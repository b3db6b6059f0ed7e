"""PostgreSQL, MariaDB and Redis on loopback for tests.

They are the machine's own programs; their data is in a temporary folder.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import pymysql
import pytest
from adbc_driver_manager import Error
from adbc_driver_postgresql import dbapi

PASSWORD = "s3cret of the tests"
_NO_POWER_CUTS = (
    "fsync=off",
    "full_page_writes=off",
    "wal_level=minimal",
    "max_wal_senders=0",
    "jit=off",
)


@dataclass(frozen=True)
class Server:
    """A running server, whose user `owner` may do everything in the database `hr`."""

    type: str
    port: int
    authority: Path
    """The file that whoever wants to verify the server must trust."""
    restart: Callable[[], None] = lambda: None
    """End it as a power cut would, and start it again; PostgreSQL only."""

    def connection(self) -> dict[str, Any]:
        """The connection part of provider_data."""
        return {
            "type": self.type,
            "host": "127.0.0.1",
            "port": self.port,
            "database": "hr",
            "user": "owner",
            "password": {"env": "HR_PASSWORD"},
            "tls": "off",
        }

    def execute(self, *statements: str) -> None:
        """Run statements as the owner, each committed at once."""
        if self.type == "postgresql":
            self._ask("", *statements)
            return
        mysql = pymysql.connect(
            host="127.0.0.1",
            port=self.port,
            user="owner",
            password=PASSWORD,
            database="hr",
            autocommit=True,
        )
        with mysql, mysql.cursor() as found:
            for statement in statements:
                found.execute(statement)

    def count(self, query: str) -> int:
        """The one number that a query on PostgreSQL yields."""
        ((found,),) = self._ask(query)
        return int(found)

    def rows(self) -> list[str]:
        """Every row of every table of PostgreSQL's, as text."""
        tables = self._ask(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables"
            " WHERE schemaname !~ '^(pg_|information_schema$)'"
        )
        return [
            str(row)
            for (table,) in tables
            for (row,) in self._ask(f"SELECT t::text FROM {table} t")
        ]

    def clear(self, *kept: str) -> None:
        """Drop every schema but `kept`, with whatever sessions still hold something of one.

        Who connects through ADBC reads the columns of all tables that there are: with those of
        a hundred tests that takes a second.
        """
        schemas = self._ask(
            "SELECT nspname FROM pg_namespace WHERE nspname !~ '^(pg_|information_schema|public$)'"
        )
        gone = {name for (name,) in schemas} - {*kept}
        if gone:
            self.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()",
                *(f'DROP SCHEMA IF EXISTS "{name}" CASCADE' for name in sorted(gone)),
            )

    def _ask(self, query: str, *statements: str) -> list[tuple[Any, ...]]:
        """Run the statements of PostgreSQL's, and then the query; not through ADBC (`clear`)."""
        connection = psycopg2.connect(self.address("hr"))
        with closing(connection), connection.cursor() as cursor:
            connection.autocommit = True
            for statement in statements:
                cursor.execute(statement)
            if not query:
                return []
            cursor.execute(query)
            rows: list[tuple[Any, ...]] = cursor.fetchall()
            return rows

    def settings(self, schema: str) -> dict[str, str]:
        """The environment of an installation whose operational database is `schema` here."""
        return {
            "ELT_ASSETS_OPERATIONAL_URL": (
                f"postgresql://owner@127.0.0.1:{self.port}/hr?sslmode=disable"
            ),
            "ELT_ASSETS_OPERATIONAL_PASSWORD": "env:ELT_ASSETS_TEST_PASSWORD",
            "ELT_ASSETS_OPERATIONAL_SCHEMA": schema,
            "ELT_ASSETS_TEST_PASSWORD": PASSWORD,
        }

    def address(self, database: str) -> str:
        """A PostgreSQL address."""
        password = PASSWORD.replace(" ", "%20")
        return f"postgresql://owner:{password}@127.0.0.1:{self.port}/{database}?sslmode=disable"


@contextmanager
def postgresql(*options: str) -> Iterator[Server]:
    """A PostgreSQL of this machine; skips the test where there is none.

    `options` are settings of the server; without them it does not care for power cuts.
    """
    programs = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)
    if programs is None or not (programs / "initdb").exists():
        pytest.skip("PostgreSQL is not installed; .ci/install-servers installs it")
    with folder_of_its_own() as folder:
        secret = folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        data = folder / "data"
        making = ["-U", "owner", "--auth=scram-sha-256", f"--pwfile={secret}", "--no-sync"]
        subprocess.run(
            [programs / "initdb", "-D", data, *making, "-E", "UTF8", "--locale=C.UTF-8"],
            check=True,
            stdout=subprocess.DEVNULL,
            **unprivileged(),
        )
        certificate, key = certificate_of_loopback(folder)
        running: list[subprocess.Popen[bytes]] = []

        def restart() -> None:
            running[0].send_signal(signal.SIGQUIT)
            running[0].wait()
            running[0] = _start(command, folder)
            wait_until_it_answers()

        def wait_until_it_answers() -> None:
            while True:
                check_alive(running[0], folder)
                try:
                    with dbapi.connect(server.address("postgres")):
                        return
                except Error as error:
                    _check_not_yet(
                        str(error), "refused", "starting up", "not yet accepting", "recovery"
                    )
                time.sleep(0.02)

        server = Server("postgresql", free_port(), certificate, restart)
        command = [programs / "postgres", "-D", data, "-h", "127.0.0.1", "-p", str(server.port)]
        command += ["-k", "", "-c", "ssl=on"]
        for option in options or _NO_POWER_CUTS:
            command += ["-c", option]
        command += ["-c", f"ssl_cert_file={certificate}", "-c", f"ssl_key_file={key}"]
        running.append(_start(command, folder))
        try:
            wait_until_it_answers()
            with (
                dbapi.connect(server.address("postgres"), autocommit=True) as connection,
                connection.cursor() as cursor,
            ):
                cursor.execute("CREATE DATABASE hr")
            yield server
        finally:
            # At once: a session that a test has left open would be waited for.
            running[0].send_signal(signal.SIGINT)
            running[0].wait()


@contextmanager
def mariadb() -> Iterator[Server]:
    """A MariaDB of this machine; skips the test where there is none."""
    program = shutil.which("mariadbd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    share = Path("/usr/share/mysql")
    if program is None or not (share / "mysql_system_tables.sql").exists():
        pytest.skip("MariaDB is not installed; .ci/install-servers installs it")
    with folder_of_its_own() as folder:
        data = folder / "data"
        data.mkdir()
        _give_away(data)
        options = [f"--datadir={data}", f"--tmpdir={folder}", "--innodb-buffer-pool-size=16M"]
        options += ["--innodb-log-file-size=8M"]
        tables = "".join(
            (share / name).read_text()
            for name in ("mysql_system_tables.sql", "mysql_system_tables_data.sql")
        )
        subprocess.run(
            [program, "--no-defaults", "--bootstrap", *options],
            input=f"create database mysql;\nuse mysql;\nset @auth_root_socket=NULL;\n{tables}",
            check=True,
            text=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **unprivileged(),
        )
        first = folder / "first.sql"
        first.write_text(
            f"CREATE USER owner@'%' IDENTIFIED BY '{PASSWORD}';\n"
            "CREATE DATABASE hr CHARACTER SET utf8mb4;\n"
            "GRANT ALL ON *.* TO owner@'%';\n"
        )
        first.chmod(0o644)
        certificate, key = certificate_of_loopback(folder)
        server = Server("mysql", free_port(), certificate)
        command = [program, "--no-defaults", *options, f"--port={server.port}"]
        command += ["--bind-address=127.0.0.1", f"--socket={folder}/socket", "--skip-name-resolve"]
        command += ["--innodb-flush-log-at-trx-commit=0", f"--init-file={first}"]
        command += [f"--ssl-cert={certificate}", f"--ssl-key={key}"]
        with running_server(command, folder) as process:
            while True:
                check_alive(process, folder)
                try:
                    server.execute("SELECT 1")
                    break
                except pymysql.err.OperationalError as error:
                    _check_not_yet(str(error), "refused")
            yield server


@dataclass(frozen=True)
class Broker:
    """A running Redis with a password, which keeps its data on disk."""

    port: int
    tls_port: int
    certificate: Path
    """What the server shows at `tls_port`: its own authority, for 127.0.0.1."""
    stop: Callable[[], None]
    """End it as a power cut would."""
    start: Callable[[], None]
    """Start it again, on the same port and with what it had."""

    @property
    def settings(self) -> dict[str, str]:
        """The environment of an installation whose broker this is."""
        return {
            "ELT_ASSETS_BROKER_URL": f"redis://127.0.0.1:{self.port}/0",
            "ELT_ASSETS_BROKER_PASSWORD": "env:ELT_ASSETS_TEST_PASSWORD",
            "ELT_ASSETS_TEST_PASSWORD": PASSWORD,
        }


@contextmanager
def redis() -> Iterator[Broker]:
    """A Redis of this machine; skips the test where there is none."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("Redis is not installed; .ci/install-servers installs it")
    with folder_of_its_own() as folder:
        port, tls_port = free_port(), free_port()
        certificate, key = certificate_of_loopback(folder)
        options = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder)]
        options += ["--tls-port", str(tls_port), "--tls-auth-clients", "no"]
        options += ["--tls-cert-file", str(certificate), "--tls-key-file", str(key)]
        options += ["--tls-ca-cert-file", str(certificate)]
        options += ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        configuration = folder / "redis.conf"
        configuration.write_text(f'requirepass "{PASSWORD}"\n')
        configuration.chmod(0o644)
        running: list[subprocess.Popen[bytes]] = []

        def stop() -> None:
            running[0].kill()
            running.pop().wait()

        def start() -> None:
            running.append(_start([program, configuration, *options], folder))
            while True:
                check_alive(running[0], folder)
                try:
                    with socket.create_connection(("127.0.0.1", port)) as connection:
                        connection.sendall(b"PING\r\n")
                        # What it says to strangers, once it has read what it had.
                        if connection.recv(100).startswith(b"-NOAUTH"):
                            return
                except ConnectionRefusedError:
                    pass
                time.sleep(0.02)

        start()
        try:
            yield Broker(port, tls_port, certificate, stop, start)
        finally:
            if running:
                stop()


def certificate_of_loopback(folder: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that signs itself, and its key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl is not installed; .ci/install-servers installs it")
    options = ["-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    options += ["-addext", "subjectAltName=IP:127.0.0.1"]
    options += ["-out", str(certificate), "-keyout", str(key)]
    subprocess.run(
        [program, "req", "-x509", "-newkey", "rsa:2048", *options],
        check=True,
        stderr=subprocess.DEVNULL,
        **unprivileged(),
    )
    return certificate, key


@contextmanager
def folder_of_its_own() -> Iterator[Path]:
    # Not in pytest's own folder, which only its owner may enter.
    with tempfile.TemporaryDirectory(prefix="database-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        _give_away(folder)
        yield folder


@contextmanager
def running_server(command: list[Any], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = _start(command, folder)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def _start(command: list[Any], folder: Path) -> subprocess.Popen[bytes]:
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, **unprivileged())


def check_alive(process: subprocess.Popen[bytes], folder: Path) -> None:
    if process.poll() is not None:
        raise AssertionError(f"the server ended: {(folder / 'log').read_text()[-2000:]}")


def wait_until_it_listens(
    process: subprocess.Popen[bytes], folder: Path, port: int, host: str = "127.0.0.1"
) -> None:
    """Until the port accepts connections; the end of the process fails with its log."""
    while True:
        check_alive(process, folder)
        try:
            socket.create_connection((host, port)).close()
        except ConnectionRefusedError:
            time.sleep(0.02)
        else:
            return


def _check_not_yet(said: str, *expected: str) -> None:
    if not any(text in said for text in expected):
        raise AssertionError(f"the server is there and says: {said}")


def unprivileged() -> dict[str, Any]:
    """Database servers refuse to be run by root."""
    if os.geteuid():
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _give_away(folder: Path) -> None:
    if not os.geteuid():
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
