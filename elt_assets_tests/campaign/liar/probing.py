"""Asking a model provider for single people, as the connectors do and with their own judgement."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from elt_assets.connectors.http.http_client import PageRequest, Response
from elt_assets.connectors.mapping.expressions import Path
from elt_assets.connectors.probing.probe_answers import ProbeShape
from elt_assets.connectors.probing.record_probes import SingleRecords
from elt_assets.connectors.source import Presence
from elt_assets_tests.campaign.liar.provider import Provider, Single
from elt_assets_tests.campaign.liar.world import number_of

T = TypeVar("T")
_SHAPE = ProbeShape(external_id=Path(("id",)))
_JSON = {"content-type": "application/json"}
_HTML = {"content-type": "text/html; charset=utf-8"}


@dataclass(slots=True)
class Wire:
    """Stands where a client stands: requests go to the model, answers come as over HTTP."""

    provider: Provider
    closed: bool = False

    def fetch(self, request: PageRequest, read: Callable[[Response], T]) -> T:
        """The answer about the person whose key ends the address."""
        key = request.url.rpartition("/")[2]
        match self.provider.one(number_of(key)):
            case Single.PRESENT:
                return read(Response(request.url, _JSON, b'{"id":"%b"}' % key.encode()))
            case Single.GONE:
                return read(Response(request.url, _JSON, b'{"error":"not found"}', status=404))
        return read(Response(request.url, _HTML, b"<html>Not Found</html>", status=404))


@dataclass(slots=True)
class Probing:
    """A source as confirmation sees it; keeps what it was told."""

    provider: Provider
    probes: bool = True
    answers: dict[str, Presence] = field(default_factory=dict)

    def probe(self, missing: Sequence[str], listed: Sequence[str]) -> Mapping[str, Presence]:
        """Ask for those who are missing, next to a control."""
        wire: Any = Wire(self.provider)
        records = SingleRecords(wire, "/users/{external_id}", {}, _SHAPE, None, lambda _: None)
        self.answers |= records.probe(missing, listed)
        return self.answers
