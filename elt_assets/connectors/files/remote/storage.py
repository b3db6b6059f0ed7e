"""The interface of storage on another machine, the same for every protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO, Protocol

from elt_assets.errors import PermanentError

MOST_NAMES = 100_000
"""Names of one listing, so that a folder with millions of names costs no more time."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file as it was listed; `mark` identifies its content (an ETag), or is empty."""

    name: str
    size: int
    mtime_ns: int
    mark: str


class Storage(Protocol):
    """A folder, or a prefix of a bucket."""

    @property
    def requests(self) -> int:
        """Requests sent so far."""

    def listed(self, pattern: str) -> list[RemoteFile]:
        """The files whose names match. Raises `ProviderUnavailable` or `ProviderRefused`."""

    def fetch(self, file: RemoteFile, into: IO[bytes]) -> None:
        """Write the file's bytes to `into`. Raises `PermanentError` if it is not the listed one."""

    def close(self) -> None:
        """Close connections."""


def too_many(pattern: str, url: str) -> PermanentError:
    """The error for a folder with more than `MOST_NAMES` names."""
    return PermanentError(
        f"more than {MOST_NAMES:,} names are in {url}, the most that are looked at for "
        f"{pattern!r}: name a folder with fewer of them"
    )
