"""What storage of files on another machine offers, whichever protocol it speaks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO, Protocol

from elt_assets.errors import PermanentError

MOST_NAMES = 100_000
"""Names that are looked at, so that a folder of millions costs no more."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file as it was listed; `mark` is what the storage says of its content."""

    name: str
    size: int
    mtime_ns: int
    mark: str


class Storage(Protocol):
    """A folder, or a prefix of a bucket."""

    @property
    def requests(self) -> int:
        """What was sent so far."""

    def listed(self, pattern: str) -> list[RemoteFile]:
        """The files whose names match. Raises `ProviderUnavailable` or `ProviderRefused`."""

    def fetch(self, file: RemoteFile, into: IO[bytes]) -> None:
        """Write the bytes of that file, and of no other that took its name, into another."""

    def close(self) -> None:
        """Give back connections."""


def too_many(pattern: str, url: str) -> PermanentError:
    """More names than are looked at."""
    return PermanentError(
        f"more than {MOST_NAMES:,} names are in {url}, the most that are looked at for "
        f"{pattern!r}: name a folder with fewer of them"
    )
