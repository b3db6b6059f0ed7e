"""Files of an SFTP server, listed and fetched over connections whose host key is configured."""

from __future__ import annotations

import io
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import IO, Any
from urllib.parse import urlsplit

import paramiko

from elt_assets.config.secret_refs import Secrets
from elt_assets.connectors.files.folder import changed
from elt_assets.connectors.files.remote.remote_data import SftpRemote
from elt_assets.connectors.files.remote.storage import MOST_NAMES, RemoteFile, too_many
from elt_assets.connectors.http.auth import named
from elt_assets.connectors.http.deadline import Deadline
from elt_assets.connectors.limits import FetchLimits
from elt_assets.errors import (
    PageUnreadable,
    PermanentError,
    ProviderRefused,
    ProviderUnavailable,
    SecretMissing,
)

_PORT = 22
_CHUNK = 1 << 18
_AHEAD = 64
"""Pieces of 32 KiB that are requested before the first of them is read."""


class SftpStorage:
    """One folder of one server. Each listing and each file has a connection of its own."""

    def __init__(self, remote: SftpRemote, *, secrets: Secrets, limits: FetchLimits) -> None:
        self._remote = remote
        self._secrets = secrets
        self._limits = limits
        parts = urlsplit(remote.url)
        self._host, self._port = parts.hostname or "", parts.port or _PORT
        self._folder = parts.path or "/"
        self.requests = 0
        """Connections opened so far."""

    def listed(self, pattern: str) -> list[RemoteFile]:
        """The files whose names match. Raises `ProviderUnavailable` or `ProviderRefused`."""
        with self._connected(self._limits.timeout) as client:
            found: list[RemoteFile] = []
            seen = 0
            steps = pattern.split("/")
            folders = [""]
            for depth, step in enumerate(steps):
                last, inner = depth == len(steps) - 1, list[str]()
                for folder in folders:
                    for entry in client.listdir_iter(f"{self._folder}/{folder}".rstrip("/") or "/"):
                        seen += 1
                        if seen > MOST_NAMES:
                            raise too_many(pattern, self._remote.url)
                        name = f"{folder}/{entry.filename}".lstrip("/")
                        if not fnmatchcase(entry.filename, step) or "/" in entry.filename:
                            continue
                        # A link has neither mode, so it is not followed.
                        mode = entry.st_mode or 0
                        if not last and stat.S_ISDIR(mode):
                            inner.append(name)
                        if last and stat.S_ISREG(mode):
                            found.append(_found(name, entry))
                folders = inner
            return found

    def fetch(self, file: RemoteFile, into: IO[bytes]) -> None:
        """Write the file's bytes to `into`. Raises as `listed`, and if the file changed."""
        with self._connected(self._limits.page_timeout) as client:
            path = f"{self._folder}/{file.name}"
            with client.open(path, "rb") as content:
                if _found(file.name, content.stat()) != file:
                    raise changed(file.name, "has changed")
                most = self._limits.files.bytes
                too_large = PageUnreadable(
                    f"{file.name} has more than {most:,} bytes (ELT_ASSETS_FILE_BYTES)"
                )
                # Checked first: prefetching lists all pieces of the size that the server states.
                if file.size > most:
                    raise too_large
                # The number of requests is limited: pieces that are not read yet are in memory.
                content.prefetch(file.size, max_concurrent_requests=_AHEAD)
                size = 0
                while piece := content.read(_CHUNK):
                    size += len(piece)
                    if size > most:
                        raise too_large
                    into.write(piece)
            if size != file.size:
                raise ProviderUnavailable(
                    f"{file.name} was cut short: {size:,} of {file.size:,} bytes arrived"
                )

    def close(self) -> None:
        """Do nothing: each listing and each file closes its own connection."""

    @contextmanager
    def _connected(self, seconds: float) -> Iterator[paramiko.SFTPClient]:
        what = f"{self._host} port {self._port}"
        with Deadline(seconds) as deadline:
            self.requests += 1
            transport: paramiko.Transport | None = None
            try:
                raw = self._limits.outgoing.connect(self._host, self._port, deadline)
                raw.settimeout(seconds)
                transport = paramiko.Transport(raw)
                transport.banner_timeout = transport.handshake_timeout = seconds
                transport.auth_timeout = transport.channel_timeout = seconds
                yield self._opened(transport, deadline)
            except paramiko.AuthenticationException:
                raise ProviderRefused(
                    f"{what} refused user {self._remote.user}; check {self._proof()}"
                ) from None
            except FileNotFoundError:
                raise PermanentError(f"{self._remote.url} has no such folder or file") from None
            except PermissionError:
                raise ProviderRefused(
                    f"{self._remote.url} may not be read by user {self._remote.user}"
                ) from None
            except (paramiko.SSHException, OSError, EOFError, UnicodeError) as error:
                if deadline.passed:
                    raise ProviderUnavailable(
                        f"{what} was still answering after {seconds:g} s"
                    ) from None
                raise ProviderUnavailable(
                    f"{what} cannot be read: {str(error) or type(error).__name__}"
                ) from None
            finally:
                if transport is not None:
                    transport.close()

    def _opened(self, transport: paramiko.Transport, deadline: Deadline) -> paramiko.SFTPClient:
        known = {tuple(key.split()) for key in self._remote.host_keys}
        # Otherwise the server could choose a kind of key that is not in `host_keys`.
        kinds = {kind for kind, _ in known}
        options = transport.get_security_options()
        options.key_types = [one for one in options.key_types if _kind(one) in kinds] or list(
            options.key_types
        )
        try:
            transport.start_client(timeout=max(0.001, deadline.left))
        except paramiko.ssh_exception.IncompatiblePeer as error:
            if "host key" not in str(error):
                raise
            raise ProviderRefused(
                f"{self._host} has no host key of a kind that is known "
                f"({', '.join(sorted(kinds))}); nothing was sent. If it is the right one, add its "
                "key to remote.host_keys"
            ) from None
        shown = transport.get_remote_server_key()
        if (shown.get_name(), shown.get_base64()) not in known:
            raise ProviderRefused(
                f"{self._host} shows a host key that is not known ({shown.get_name()}, "
                f"fingerprint {shown.fingerprint}); nothing was sent. If it is the right one, add "
                "it to remote.host_keys"
            )
        if self._remote.password is not None:
            transport.auth_password(
                self._remote.user, self._secrets.resolve(self._remote.password), fallback=False
            )
        else:
            transport.auth_publickey(self._remote.user, self._key())
        client = paramiko.SFTPClient.from_transport(transport)
        if client is None:
            raise ProviderUnavailable(f"{self._host} opens no SFTP session")
        channel = client.get_channel()
        if channel is not None:
            channel.settimeout(max(0.001, deadline.left))
        return client

    def _key(self) -> paramiko.PKey:
        ref = self._remote.key
        if ref is None:
            raise AssertionError("a key or a password")
        text = self._secrets.resolve(ref)
        kinds: tuple[Any, ...] = (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey)
        for kind in kinds:
            try:
                made: paramiko.PKey = kind.from_private_key(io.StringIO(text))
                return made
            except (paramiko.SSHException, ValueError, IndexError):
                continue
        raise SecretMissing(
            f"{named(ref)} holds no private key that can be read (Ed25519, ECDSA or RSA, without a "
            "password)"
        )

    def _proof(self) -> str:
        ref = self._remote.password or self._remote.key
        return "the credentials" if ref is None else named(ref)


def _kind(algorithm: str) -> str:
    """The kind of key that a signature algorithm belongs to."""
    return "ssh-rsa" if algorithm.startswith("rsa-sha2") else algorithm


def _found(name: str, status: paramiko.SFTPAttributes) -> RemoteFile:
    return RemoteFile(name, status.st_size or 0, (status.st_mtime or 0) * 10**9, "")
