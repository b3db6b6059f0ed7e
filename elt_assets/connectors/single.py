"""One record asked for by its id: is somebody who was not listed really gone?

Belongs here: the request and what its answer means. Does not: sending (http), or deciding
what follows for the record (the engine). The only place where a record is looked at in
Python: it is one, and nothing of it is kept.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec

from elt_assets.connectors.expressions import Expression, parse, parse_keys
from elt_assets.connectors.http import Client, NotThere, Request, Response
from elt_assets.connectors.looking import holds, text_at
from elt_assets.connectors.provider_data import SingleRecord
from elt_assets.connectors.source import Presence
from elt_assets.errors import PageUnreadable, ProviderRefused


class SingleRecords:
    """Answers for records of one stream."""

    def __init__(self, url: str, described: SingleRecord, external_id: Expression) -> None:
        self._url = url
        self._record = parse_keys(described.record)
        self._active = None if described.active is None else parse(described.active)
        self._external_id = external_id

    def presence(self, client: Client, external_id: str) -> Presence:
        """GONE for 404, 410 or a record that is not active; UNKNOWN for any other refusal.

        Raises `ProviderUnavailable` or `SecretMissing`.
        """
        if external_id in (".", ".."):
            return Presence.UNKNOWN  # a step in a path, whichever way it is written
        url = self._url.replace("{external_id}", quote(external_id, safe=""))
        try:
            record = client.fetch(Request("a single record", url), self._read)
        except NotThere:
            return Presence.GONE
        except (ProviderRefused, PageUnreadable):
            return Presence.UNKNOWN
        if text_at(self._external_id, record) != external_id:
            return Presence.UNKNOWN
        if self._active is not None and not holds(self._active, record):
            return Presence.GONE
        return Presence.PRESENT

    def _read(self, response: Response) -> Any:
        try:
            record = msgspec.json.decode(response.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise PageUnreadable("a single record is not JSON") from None
        for key in self._record:
            record = record.get(key) if isinstance(record, dict) else None
        return record
