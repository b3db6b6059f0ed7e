"""Request single records: one by one, or several at once where the provider takes a filter.

The module also limits the number of requests. What an answer means is decided in `probe_answers`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from elt_assets.connectors.http.http_client import Client, PageRequest, Response
from elt_assets.connectors.mapping.templates import filled
from elt_assets.connectors.probing.control import Controls, controls
from elt_assets.connectors.probing.probe_answers import (
    NOT_THERE,
    ProbeAnswer,
    ProbeShape,
    answer_of,
)
from elt_assets.connectors.rest.configuration.stream_parts import FilterForSeveral
from elt_assets.connectors.source import Presence
from elt_assets.errors import (
    PageUnreadable,
    ProviderRefused,
    ProviderUnavailable,
    TimeBudgetSpent,
)

MOST_REQUESTS = 500
"""Requests of one sync for missing records. The other records wait for a second listing."""

FEW = 5
"""Up to this many records are requested one by one: a filter may use the listing's own index."""

_LONGEST_KEY = 1_024
"""Characters. A longer key is not requested."""
_LONGEST_FILTER = 1_500
"""Characters, so that the address stays within what servers take."""

Presences = dict[str, Presence]
Matching = Callable[[Mapping[str, str]], list[Any] | None]
"""Requests the listing with further parameters: its records, or None if some may be missing."""


@dataclass(frozen=True)
class SingleRecords:
    """Answers for records of one stream. `{external_id}` stands in `url` or in `params`."""

    client: Client
    url: str
    params: Mapping[str, str]
    shape: ProbeShape
    several: FilterForSeveral | None
    matching: Matching
    canonical: Callable[[bytes], bytes] = bytes
    """Brings an answer to the form that the configuration describes."""

    def probe(self, missing: Sequence[str], listed: Sequence[str]) -> Presences:
        """Request missing records; those that cannot be requested are UNKNOWN.

        At most one request is sent for each of them, and one for the control. If the provider
        becomes unavailable, the rest is UNKNOWN. Raises `SecretMissing`, and
        `ProviderUnavailable` when the client is closed.
        """
        found = dict.fromkeys(missing, Presence.UNKNOWN)
        chosen = controls([key for key in found if _usable(key)], filter(_usable, listed))
        if chosen is None:
            return found
        most = min(len(chosen.covered) + 1, MOST_REQUESTS)
        try:
            for keys, presences in self._answers(chosen, most):
                found |= dict(zip(keys, presences, strict=True))
        except (ProviderUnavailable, TimeBudgetSpent):
            if self.client.closed:
                raise
        return found

    def _answers(
        self, chosen: Controls, most: int
    ) -> Iterator[tuple[Sequence[str], Sequence[Presence]]]:
        left = list(chosen.covered)
        if self.several is not None and chosen.last is not None and len(left) > FEW:
            for keys in _groups(left, self.several):
                presences = self._at_once(keys, self.several, chosen.first, chosen.last)
                most -= 1
                if presences is None:
                    break
                yield keys, presences
                left = left[len(keys) :]
                if most < 1:
                    return
        if not left or most < 1:
            return
        control = self._asked(chosen.first)
        if control is None or self.shape.found(control, chosen.first) is not Presence.PRESENT:
            return
        for key in left[: most - 1]:
            answer = control if key == chosen.first else self._asked(key)
            if answer is not None:
                yield [key], [self.shape.judge(answer, key, control)]

    def _asked(self, key: str) -> ProbeAnswer | None:
        url = self.url.replace("{external_id}", quote(key, safe=""))
        params = {name: filled(text, {"external_id": key}) for name, text in self.params.items()}
        request = PageRequest("a single record", url, params, answers=NOT_THERE)
        try:
            return self.client.fetch(request, self._read)
        except (ProviderRefused, PageUnreadable):
            return None

    def _read(self, response: Response) -> ProbeAnswer:
        return answer_of(response.status, response.headers, self.canonical(response.body))

    def _at_once(
        self, keys: Sequence[str], several: FilterForSeveral, first: str, last: str
    ) -> list[Presence] | None:
        """What one filtered listing proves about `keys`; None if it proves nothing.

        The controls are at both ends of the filter: a provider that evaluates only a part of it
        misses one of them, and a provider that ignores it lists other records.
        """
        asked = [first, *(key for key in keys if key not in (first, last)), last]
        try:
            records = self.matching({several.param: _filter(several, asked)})
        except (ProviderRefused, PageUnreadable):
            return None
        if records is None:
            return None
        by_key = {self.shape.key_of(record): record for record in records}
        if len(by_key) < len(records) or not by_key.keys() <= set(asked):
            return None
        presences = {
            key: self.shape.of_record(by_key[key], key) if key in by_key else Presence.GONE
            for key in asked
        }
        if any(presences[control] is not Presence.PRESENT for control in (first, last)):
            return None
        return [presences[key] for key in keys]


def _usable(key: str) -> bool:
    """Whether a key can stand in an address: `.` and `..` are steps of a path."""
    return key not in ("", ".", "..") and len(key) <= _LONGEST_KEY and "\0" not in key


def _groups(keys: Sequence[str], several: FilterForSeveral) -> Iterator[list[str]]:
    group: list[str] = []
    size = 0
    for key in keys:
        length = len(quote(_clause(several, key), safe=""))
        if group and (len(group) == several.most - 2 or size + length > _LONGEST_FILTER):
            yield group
            group, size = [], 0
        group.append(key)
        size += length
    yield group


def _filter(several: FilterForSeveral, keys: Sequence[str]) -> str:
    clauses = " or ".join(_clause(several, key) for key in keys)
    return several.value.replace("{clauses}", clauses)


def _clause(several: FilterForSeveral, key: str) -> str:
    doubled = "'{external_id}'" in several.each
    text = key.replace("'", "''") if doubled else json.dumps(key, ensure_ascii=False)[1:-1]
    return several.each.replace("{external_id}", text)
