"""A real Active Directory domain controller for tests: Samba, with data in a temporary folder.

It listens on a loopback address of its own, as its ports are fixed; so it needs root.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ldap3 import NONE, Connection, Server

from elt_assets_tests.testbed.servers import PASSWORD, wait_until_it_listens

BASE = "DC=acme,DC=example"
USERS = f"CN=Users,{BASE}"
_PASSWORD = f"{PASSWORD}, Upper Case 1"
_OPTIONS = """\
[global]
    server services = ldap
    ldap server require strong auth = no
    interfaces = {address}/8
    pid directory = {folder}
    ncalrpc dir = {folder}/ncalrpc
    log file = {folder}/log.%m
"""


@dataclass(frozen=True)
class DomainController:
    """A running domain controller of the domain acme.example."""

    address: str
    configuration: Path

    @property
    def password(self) -> str:
        """The administrator's."""
        return _PASSWORD

    def connection(self) -> dict[str, Any]:
        """The connection part of provider_data."""
        return {
            "host": self.address,
            "tls": "off",
            "user": "administrator@acme.example",
            "password": {"env": "LDAP_PASSWORD"},
        }

    @contextmanager
    def administered(self) -> Iterator[Connection]:
        """A connection that may do everything, and raises where it may not."""
        server = Server(self.address, get_info=NONE)
        user = "administrator@acme.example"
        with Connection(server, user, _PASSWORD, raise_exceptions=True) as connection:
            yield connection

    def add_user(self, name: str, password: str) -> None:
        """Add an ordinary user, with a password, which LDAP takes only over an encrypted line."""
        subprocess.run(
            ["samba-tool", "user", "create", name, password, f"--configfile={self.configuration}"],
            check=True,
            capture_output=True,
        )


@contextmanager
def samba() -> Iterator[DomainController]:
    """A domain controller of this machine; skips the test where it cannot be had."""
    programs = [shutil.which(name) for name in ("samba", "samba-tool")]
    if None in programs or not Path("/usr/share/samba/setup/provision.ldif").exists():
        pytest.skip("Samba is not installed as a domain controller; .ci/install-servers does it")
    if os.geteuid():
        pytest.skip("Samba's domain controller needs root")
    with tempfile.TemporaryDirectory(prefix="samba-") as name:
        folder = Path(name)
        options = ["--realm=ACME.EXAMPLE", "--domain=ACME", "--server-role=dc"]
        options += ["--dns-backend=NONE", f"--adminpass={_PASSWORD}", f"--targetdir={folder}"]
        subprocess.run(
            ["samba-tool", "domain", "provision", *options, f"--option=log file={folder}/log"],
            check=True,
            capture_output=True,
        )
        address = _free_address()
        configuration = folder / "etc" / "smb.conf"
        text = configuration.read_text()
        given = _OPTIONS.format(address=address, folder=folder)
        kept = [line for line in text.splitlines() if not _is_given(line, given)]
        configuration.write_text("\n".join(kept).replace("[global]", given, 1))
        command = ["samba", "-F", "--no-process-group", "--debug-stdout", "-s", str(configuration)]
        with (folder / "log").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            wait_until_it_listens(process, folder, 389, address)
            yield DomainController(address, configuration)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            _wait_for_group(process.pid)


def _wait_for_group(group: int) -> None:
    """Until none of its processes is left that could write into the folder."""
    with suppress(ProcessLookupError):
        while True:
            os.killpg(group, signal.SIGKILL)
            time.sleep(0.02)


def _is_given(line: str, given: str) -> bool:
    name = line.partition("=")[0].strip()
    return "=" in line and f"    {name} =" in given


def _free_address() -> str:
    for number in range(2, 250):
        address = f"127.77.{os.getpid() % 250}.{number}"
        with socket.socket() as found:
            try:
                found.bind((address, 389))
                return address
            except OSError:
                continue
    raise AssertionError("no loopback address is free")
