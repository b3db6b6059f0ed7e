"""Verify one connector: a preset against its emulator, or provider_data against a server."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from msgspec import structs

from elt_assets.config import documents
from elt_assets.conformance.emulated import EMULATED
from elt_assets.conformance.emulators import emulations
from elt_assets.conformance.live import LIVE, visit
from elt_assets.conformance.trial import trial
from elt_assets.conformance.verdict import CheckOutcome, ConformanceReport, Finding
from elt_assets.conformance.workbench import Workbench
from elt_assets.connectors import catalog
from elt_assets.connectors.presets.preset import presets
from elt_assets.errors import InvalidInput, NotFound, SyncError
from elt_assets.sync.streams import STREAMS

_THIS_MACHINE = ("127.0.0.1", "::1", "localhost")

Listener = Callable[[Finding], None]


def _unheard(_: Finding) -> None:
    """The default listener, which ignores findings: the caller reads the report."""


def verify(
    connector: str,
    *,
    provider: str = "rest",
    against: str | None = None,
    listener: Listener = _unheard,
) -> ConformanceReport:
    """Verify a preset by name, or the provider_data in a file.

    Raises `InvalidInput` for what cannot be verified, and `SyncError` for a server that cannot be
    read.
    """
    if Path(connector).is_file():
        data = _read(Path(connector))
        return _live(connector, provider, _at(provider, data, against), listener)
    if connector in presets():
        if against is None:
            return emulated(connector, listener)
        data = dict(presets()[connector].example)
        return _live(connector, connector, _at(connector, data, against), listener)
    if connector in catalog.providers():
        raise InvalidInput(
            f"{connector} describes no API by itself: give a file with its provider_data and "
            f"--provider {connector}"
        )
    raise NotFound(
        f"{connector!r} is neither a file nor a preset (presets: {', '.join(sorted(presets()))})"
    )


def emulated(name: str, listener: Listener = _unheard) -> ConformanceReport:
    """Verify every stream of a preset that the emulator of its provider has."""
    findings = []
    emulation = emulations()[name]
    for stream in emulation.listings:
        for check in EMULATED.values():
            with trial(emulation, stream) as at:
                findings.append(structs.replace(check(at), stream=stream))
            listener(findings[-1])
    return ConformanceReport(name, "emulator", tuple(findings))


def _live(
    name: str, provider: str, data: Mapping[str, Any], listener: Listener
) -> ConformanceReport:
    stored = catalog.validate(provider, dict(data))
    offered = catalog.streams(stored)
    streams = [stream for stream in STREAMS if stream in offered]
    if not streams:
        raise InvalidInput(f"{name} has no stream that can be verified ({', '.join(STREAMS)})")
    for address in dict.fromkeys(_addresses(stored)):
        _reachable(address)
    findings: list[Finding] = []
    against = next(_addresses(stored), "what the file names")
    for stream in streams:
        for found in _stream(provider, stored, stream, is_first=not findings):
            findings.append(found)
            listener(found)
    return ConformanceReport(name, against, tuple(findings))


def _stream(
    provider: str, stored: Mapping[str, Any], stream: str, *, is_first: bool
) -> Iterator[Finding]:
    """The findings of one stream. Raises `SyncError` if the first stream has no readable page."""
    with Workbench(provider, stored, stream) as bench:
        try:
            at = visit(provider, stored, bench)
        except SyncError as error:
            if is_first:
                raise
            for check in LIVE:
                verdict = CheckOutcome.FAILED if check == "pages" else CheckOutcome.NOT_CHECKED
                yield Finding(check, verdict, str(error), stream)
            return
        for check, run in LIVE.items():
            try:
                found = run(at)
            except SyncError as error:
                found = Finding(check, CheckOutcome.FAILED, str(error))
            yield structs.replace(found, stream=stream)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = documents.load(path.read_text("utf-8"), str(path))
    except UnicodeDecodeError:
        raise InvalidInput(f"{path} is not UTF-8 text") from None
    if not isinstance(found, dict):
        raise InvalidInput(f"{path} holds no provider_data, which is an object with fields")
    return found


def _at(provider: str, data: Mapping[str, Any], against: str | None) -> dict[str, Any]:
    """`data` with the origin of its API, and of what issues its tokens, replaced.

    A preset's rate is for its provider: a server on this machine gets 1,000 requests a second.
    """
    if against is None:
        return dict(data)
    origin = _origin(against)
    moved = dict(data)
    if provider in presets():
        for name, ask in presets()[provider].asks.items():
            address = moved.get(name) or ask.default
            if isinstance(address, str) and address.startswith("https://"):
                moved[name] = origin + urlsplit(address).path
        if urlsplit(origin).hostname in _THIS_MACHINE:
            moved.setdefault("rate_limit", {"requests_per_second": 1000})
        return moved
    if not isinstance(moved.get("api_endpoint"), str):
        raise InvalidInput(f"{provider} names no api_endpoint for --against to replace")
    path = urlsplit(against).path.rstrip("/") or urlsplit(moved["api_endpoint"]).path
    moved["api_endpoint"] = origin + path
    auth = moved.get("auth")
    for name in ("token_url", "login_url"):
        if isinstance(auth, dict) and isinstance(auth.get(name), str):
            moved["auth"] = {**auth, name: origin + urlsplit(auth[name]).path}
    return moved


def _origin(against: str) -> str:
    try:
        parts = urlsplit(against)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise InvalidInput(f"--against {against!r} is not an address such as http://127.0.0.1:8000")
    return urlunsplit((parts.scheme, parts.netloc, "", "", ""))


def _addresses(value: Any) -> Iterator[str]:
    """Every http address in provider_data, the API's own first."""
    if isinstance(value, Mapping):
        ordered = sorted(value.items(), key=lambda item: "endpoint" not in str(item[0]))
        for _, inner in ordered:
            yield from _addresses(inner)
    elif isinstance(value, str) and value.startswith(("http://", "https://")):
        yield value


def _reachable(address: str) -> None:
    """Raise `InvalidInput` if nothing listens there."""
    parts = urlsplit(address)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname or "", port), timeout=10).close()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InvalidInput(
            f"nothing answers at {parts.scheme}://{parts.netloc}: {reason}; start the server or "
            "correct --against"
        ) from None
