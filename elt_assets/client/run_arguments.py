"""The `key=value` arguments of `start`: their types, limits and the run configuration."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from elt_assets.errors import InvalidInput, NotFound
from elt_assets.identifiers import IntegrationRef, checked_name
from elt_assets.orchestration.mode_choice import ModeChoice
from elt_assets.orchestration.names import job_name, step_name
from elt_assets.sync.streams import STREAMS, USERS, Stream

SYNC = job_name(USERS)
SYNC_ALL = "sync_all"
"""The name in `start` of the sync job over every integration."""

_WHO = ("organization_id", "connected_integration_id")
_NUMBERS = ("batch_size", "num_batches")
_MODES = (ModeChoice.full.name, ModeChoice.incremental.name)
_KNOWN = (*_WHO, "stream", "sync_id", *_NUMBERS, "mode")
_WORDS = {"true": True, "false": False, "null": None}


@dataclass(frozen=True, slots=True)
class SyncOrder:
    """The arguments of `start sync`; without names it selects every integration."""

    organization_id: str | None = None
    integration_id: str | None = None
    sync_id: str | None = None
    stream: Stream = USERS
    config: Mapping[str, Any] = field(default_factory=dict)

    def chosen(self, instance_keys: Sequence[str]) -> list[str]:
        """The selected integrations. Raises `NotFound` if there are none."""
        chosen = [key for key in instance_keys if self._means(IntegrationRef.parse(key))]
        if not chosen:
            raise NotFound(
                f"the server knows no integration {self._said()}; run `elt-assets integrations "
                "list` on its machine"
            )
        return chosen

    def run_config(self) -> dict[str, Any]:
        """The configuration of a run of the sync job."""
        if not self.config:
            return {}
        return {"ops": {step_name(self.stream): {"config": dict(self.config)}}}

    def _means(self, ref: IntegrationRef) -> bool:
        return self.organization_id in (None, ref.organization_id) and self.integration_id in (
            None,
            ref.integration_id,
        )

    def _said(self) -> str:
        if self.organization_id and self.integration_id:
            return f"{self.organization_id}:{self.integration_id}"
        return f"of {self.organization_id}" if self.organization_id else "at all"


def pairs(arguments: Iterable[str]) -> dict[str, str]:
    """Return `key=value` arguments by key. Raises `InvalidInput` for other text or a repetition."""
    found: dict[str, str] = {}
    for argument in arguments:
        key, separator, value = argument.partition("=")
        if not separator or not key:
            raise InvalidInput(f"{argument!r} is not an argument: write key=value")
        if key in found:
            raise InvalidInput(f"{key} is given twice")
        found[key] = value
    return found


def sync_order(job: str, given: Mapping[str, str]) -> SyncOrder:
    """Parse the arguments of `start sync` or `start sync_all`. Raises `InvalidInput`."""
    unknown = [key for key in given if key not in _KNOWN]
    if unknown:
        raise InvalidInput(f"{job} has no argument {unknown[0]!r}; it has {', '.join(_KNOWN)}")
    organization_id, integration_id = (given.get(name) for name in _WHO)
    if job == SYNC_ALL and (organization_id or integration_id):
        raise InvalidInput(f"{SYNC_ALL} syncs every integration; name some with `start {SYNC}`")
    if job == SYNC and organization_id is None:
        raise InvalidInput(
            f"{SYNC} needs organization_id=…, and connected_integration_id=… for one integration "
            f"of it; `start {SYNC_ALL}` syncs every integration"
        )
    config: dict[str, Any] = {key: _positive(key, given[key]) for key in _NUMBERS if key in given}
    if "mode" in given:
        if given["mode"] not in _MODES:
            raise InvalidInput(f"mode {given['mode']!r}: give {' or '.join(_MODES)}")
        config["mode"] = given["mode"]
    stream = given.get("stream", USERS.name)
    if stream not in STREAMS:
        raise InvalidInput(f"stream {stream!r}: give one of {', '.join(STREAMS)}")
    return SyncOrder(
        organization_id=organization_id and checked_name(organization_id, "organization"),
        integration_id=integration_id and checked_name(integration_id, "integration"),
        sync_id=checked_name(given["sync_id"], "sync id") if "sync_id" in given else None,
        stream=STREAMS[stream],
        config=config,
    )


def job_config(given: Mapping[str, str]) -> dict[str, Any]:
    """Run configuration of any other job, from dotted keys and typed values.

    `ops.archive.config.days=30` is `{"ops": {"archive": {"config": {"days": 30}}}}`.
    """
    config: dict[str, Any] = {}
    for path, text in given.items():
        *parents, last = path.split(".")
        place = config
        for name in parents:
            place = place.setdefault(name, {})
            if not isinstance(place, dict):
                raise InvalidInput(f"{path}: {name} already has a value of its own")
        place[last] = typed(text)
    return config


def typed(text: str) -> Any:
    """`5` as a number, `true` as a boolean, `[1]` and `{}` as JSON, else the text itself."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return text
    return text if isinstance(value, str) else value


def _positive(key: str, text: str) -> int:
    value = typed(text)
    if type(value) is not int or value < 1:
        raise InvalidInput(f"{key} is {text!r}: give a whole number from 1")
    return value
