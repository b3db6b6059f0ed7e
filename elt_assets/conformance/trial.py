"""A preset connected to the emulator of its provider, in an installation of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from elt_assets.conformance.emulators.description import EmulatedListing, Emulation
from elt_assets.conformance.emulators.emulator_server import Emulator
from elt_assets.conformance.workbench import Workbench

_LARGE = 1000
"""Records. Pages larger than this are not filled: more records would prove nothing."""
_PLENTY = {"requests_per_second": 1000}


@dataclass(frozen=True)
class Trial:
    """A preset connected to an emulator."""

    emulator: Emulator
    bench: Workbench
    secret_file: Path

    @property
    def emulation(self) -> Emulation:
        return self.emulator.emulation

    @property
    def listing(self) -> EmulatedListing:
        return self.emulator.listing

    def wanted(self) -> set[str]:
        """The keys that the table must have."""
        return {self.emulator.key(row) for row in self.emulator.listed()}


@contextmanager
def trial(emulation: Emulation, stream: str = "users") -> Iterator[Trial]:
    """An emulator with two and a half pages of records or more, and a preset connected to it."""
    with Emulator(emulation, stream) as emulator:
        paging = emulator.listing.paging
        emulator.populate(int(min(paging.most, paging.reach or paging.most, _LARGE) * 2.4) + 3)
        data: dict[str, Any] = {"rate_limit": _PLENTY}
        if len(emulation.listings) > 1:
            data["streams"] = list(emulation.listings)
        with _secret_file(emulator.secret) as secret_file:
            for name, value in emulation.data.items():
                if value == "{secret}":
                    data[name] = {"file": str(secret_file)}
                else:
                    data[name] = value.replace("{url}", emulator.url)
            with Workbench(emulation.provider, data, stream) as bench:
                yield Trial(emulator, bench, secret_file)


@contextmanager
def _secret_file(secret: str) -> Iterator[Path]:
    with TemporaryDirectory(prefix="elt-assets-verify-") as folder:
        path = Path(folder) / "secret"
        path.write_text(secret)
        path.chmod(0o600)
        yield path
