"""An SFTP server that takes a password: OpenSSH would want a user of this machine who has one."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import paramiko

USER, PASSWORD = "drops", "open sesame"


@dataclass
class PasswordSftp:
    """Where it listens, the folder it offers, and which passwords came."""

    port: int
    host_key: str
    drops: Path
    tried: list[str] = field(default_factory=list)

    def remote(self, **differing: Any) -> dict[str, Any]:
        """The part of provider_data that names it."""
        return {
            "url": f"sftp://127.0.0.1:{self.port}/",
            "user": USER,
            "password": {"env": "SFTP_PASSWORD"},
            "host_keys": [self.host_key],
            **differing,
        }


class _Login(paramiko.ServerInterface):
    def __init__(self, server: PasswordSftp) -> None:
        self._server = server

    def get_allowed_auths(self, username: str) -> str:
        return "password"

    def check_auth_password(self, username: str, password: str) -> int:
        self._server.tried.append(password)
        right = (username, password) == (USER, PASSWORD)
        return paramiko.AUTH_SUCCESSFUL if right else paramiko.AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED


class _Files(paramiko.SFTPServerInterface):
    def __init__(self, server: paramiko.ServerInterface, *, folder: Path) -> None:
        super().__init__(server)
        self._folder = folder

    def list_folder(self, path: str) -> Any:
        found = []
        for one in sorted((self._folder / path.strip("/")).iterdir()):
            found.append(paramiko.SFTPAttributes.from_stat(one.lstat(), one.name))
        return found

    def stat(self, path: str) -> Any:
        return paramiko.SFTPAttributes.from_stat((self._folder / path.strip("/")).stat())

    def open(self, path: str, flags: int, attr: Any) -> Any:
        handle = paramiko.SFTPHandle(flags)
        content = (self._folder / path.strip("/")).open("rb")
        handle.readfile = content  # type: ignore[attr-defined]
        handle.stat = lambda: paramiko.SFTPAttributes.from_stat(  # type: ignore[method-assign]
            os.fstat(content.fileno())
        )
        return handle


@contextmanager
def password_sftp(folder: Path) -> Iterator[PasswordSftp]:
    """A server in this process, on a free loopback port."""
    key = paramiko.RSAKey.generate(2048)
    transports: list[paramiko.Transport] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        host_key = f"{key.get_name()} {key.get_base64()}"
        server = PasswordSftp(listening.getsockname()[1], host_key, folder)

        def accept() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                transport = paramiko.Transport(connection)
                transports.append(transport)
                transport.add_server_key(key)
                files = partial(_Files, folder=folder)
                transport.set_subsystem_handler("sftp", paramiko.SFTPServer, files)
                # With an event it does not wait for a client that goes away.
                transport.start_server(event=threading.Event(), server=_Login(server))

        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield server
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for transport in transports:
                transport.close()
