"""Recognize the platform's own files and databases, which no integration may read.

A file is recognized by device and inode, a database by the addresses that its host resolves to,
whatever name is used. Which places are the platform's own is in `config.settings`.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from elt_assets.config.settings import Settings
from elt_assets.errors import PermanentError

_MAPPED = ipaddress.ip_network("::ffff:0:0/96")


@dataclass(frozen=True, slots=True)
class DatabasePlace:
    """A host of one of the platform's databases; a host of "" is a socket of this machine."""

    host: str
    port: int
    database: str


@dataclass(frozen=True, slots=True)
class OwnPlaces:
    """The platform's folders, the first of which is its home, and its databases."""

    home: Path
    folders: tuple[Path, ...] = ()
    databases: tuple[DatabasePlace, ...] = ()

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The places of the installation with these settings."""
        folders = [settings.events_folder]
        if settings.warehouse_data is not None and "://" not in settings.warehouse_data:
            folders.append(Path(settings.warehouse_data))
        addresses = (
            settings.operational_address,
            settings.warehouse_address,
            settings.dagster_address,
        )
        return cls(
            settings.home,
            tuple(folders),
            tuple(
                DatabasePlace(*place)
                for address in addresses
                if address is not None
                for place in address.places()
            ),
        )

    def holds(self, status: os.stat_result, besides: Path | None = None) -> bool:
        """Whether `status` is of a file of the platform outside `besides`, by device and inode."""
        return any(
            os.path.samestat(status, other) for other in _files((self.home, *self.folders), besides)
        )

    def refuse_file(self, path: Path) -> None:
        """Raise `PermanentError` if `path` leads to a file of the platform, also by a hard link."""
        real = path.resolve()
        folders = [folder.resolve() for folder in (self.home, *self.folders)]
        if any(real.is_relative_to(folder) for folder in folders) or _linked(real, folders):
            raise PermanentError(f"{path} is a file of the platform itself; it is not read")

    def refuse_database(self, addresses: Iterable[str], port: int, database: str) -> None:
        """Raise `PermanentError` if one of the addresses leads to a database of the platform."""
        reached = {_comparable(address) for address in addresses}
        for own in self.databases:
            if (own.port, own.database) == (port, database) and reached & _reached(own.host):
                raise PermanentError(
                    f"database {database} at port {port} is the platform's own; it is not read. "
                    "Correct connection in provider_data"
                )


def resolved(host: str, port: int) -> list[str]:
    """Every address of `host`, as text. Raises `OSError` where it has none."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(place[0]) for _, _, _, _, place in found]


def _reached(host: str) -> set[str]:
    if not host or host.startswith(("/", "@")):
        return {_THIS_MACHINE}
    try:
        return {_comparable(address) for address in resolved(host, 0)}
    except OSError:
        # The platform cannot reach its database under this name either.
        return set()


_THIS_MACHINE = "this machine"


def _comparable(address: str) -> str:
    """The address, or one word for all addresses of this machine: a server listens on many."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if found in _MAPPED:
        found = ipaddress.ip_address(int(found) & 0xFFFFFFFF)
    if found.is_loopback or found.is_unspecified:
        return _THIS_MACHINE
    family = socket.AF_INET if found.version == 4 else socket.AF_INET6
    with suppress(OSError), closing(socket.socket(family, socket.SOCK_DGRAM)) as probe:
        probe.bind((address, 0))
        return _THIS_MACHINE
    return str(found)


def _linked(file: Path, folders: Iterable[Path]) -> bool:
    """Whether one of the folders holds another name of the same file."""
    try:
        seen = file.stat()
    except OSError:
        return False
    if seen.st_nlink < 2:
        return False
    return any(
        (other.st_dev, other.st_ino) == (seen.st_dev, seen.st_ino) for other in _files(folders)
    )


def _files(folders: Iterable[Path], besides: Path | None = None) -> Iterator[os.stat_result]:
    for folder in folders:
        for place, inner, names in os.walk(folder):
            if besides is not None and Path(place) == besides:
                inner.clear()
                continue
            for name in names:
                with suppress(OSError):
                    yield os.stat(os.path.join(place, name), follow_symlinks=False)
