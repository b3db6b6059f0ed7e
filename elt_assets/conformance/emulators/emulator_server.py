"""One server for every emulation: a thread for each connection, on a free loopback port."""

from __future__ import annotations

import json
import re
import secrets
import threading
import time
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from elt_assets.conformance.emulators.description import (
    EmulatedAnswer,
    EmulatedListing,
    Emulation,
    Restriction,
)
from elt_assets.conformance.emulators.emulated_listing import (
    BadPosition,
    Row,
    at,
    filled,
    masked,
    page_of,
    steps,
    without,
)
from elt_assets.conformance.emulators.population import EmulatedPeople

MATCHES = 0.05
"""Seconds for which a budget stays used up if the provider does not say for how long."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    form: dict[str, str]


class Emulator(EmulatedPeople):
    """Serves the listing that a stream of an emulation reads; attributes change its behaviour."""

    def __init__(self, emulation: Emulation, stream: str = "users") -> None:
        super().__init__(emulation, stream)
        self.secret = f"s3cret-{secrets.token_hex(12)}"
        self.token = f"t0ken-{secrets.token_hex(12)}"
        self.restriction: Restriction | None = None
        self.singles: EmulatedAnswer | None = None
        """The answer to every request for one record, in place of the right answer."""
        self.turned: Callable[[], None] = lambda: None
        """Called before a page other than the first of its list is made."""
        self.allowance: int | None = None
        """Pages that may be requested before the budget is used up."""
        self.hasty = 0
        """Requests that came before the time that an answer named for the budget's refill."""
        self.asked: list[Asked] = []
        self._opens = 0.0
        self._told = False
        self._lock = threading.Lock()
        emulator = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                emulator._serve(self)

            def do_POST(self) -> None:
                emulator._serve(self)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing is logged: standard error belongs to the command."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        query = {k: v[0] for k, v in parse_qs(parts.query, keep_blank_values=True).items()}
        form = {k: v[0] for k, v in parse_qs(body.decode("utf-8", "replace")).items()}
        if body.startswith(b"{"):
            form = _flat(json.loads(body))
            query |= form
        asked = Asked(
            handler.command,
            unquote(parts.path),
            query,
            {name.lower(): value for name, value in handler.headers.items()},
            form,
        )
        with self._lock:
            self.asked.append(asked)
            answer = self._answer(asked)
        moment = {"reset": str(int(self._opens) + 1), "wait": "1", "url": self.url}
        headers = {**self.emulation.headers, **answer.headers}
        if self.restriction is not None:
            headers |= self.restriction.headers
        text = isinstance(answer.body, str)
        content = answer.body.encode() if text else json.dumps(answer.body).encode()
        try:
            handler.send_response(answer.status)
            handler.send_header("Content-Type", "text/plain" if text else "application/json")
            handler.send_header("Content-Length", str(len(content)))
            for name, value in headers.items():
                for placeholder, known in moment.items():
                    value = value.replace("{" + placeholder + "}", known)
                handler.send_header(name, value)
            handler.end_headers()
            handler.wfile.write(content)
        except ConnectionError:
            handler.close_connection = True

    def _answer(self, asked: Asked) -> EmulatedAnswer:
        emulation = self.emulation
        if emulation.token is not None and asked.path == emulation.token.path:
            return self._token(asked)
        gate = emulation.gate
        wanted = gate.value.replace("{secret}", self.secret).replace("{token}", self.token)
        if gate.basic:
            # Of what is encoded together with more, only whole groups of three bytes look the same.
            whole = len(wanted) // 3 * 3 if gate.begins else len(wanted)
            wanted = f"Basic {b64encode(wanted[:whole].encode()).decode()}"
        given = asked.headers.get(gate.header.lower(), "")
        if not (given.startswith(wanted) if gate.begins else given == wanted):
            return gate.refused
        for name, value in emulation.required.items():
            if asked.headers.get(name.lower()) != value.replace("{secret}", self.secret):
                return EmulatedAnswer(403, {"message": f"header {name} is missing or wrong"})
        lacking = self.restriction
        documents = {**emulation.documents, **(lacking.documents if lacking else {})}
        if asked.path in documents:
            return self._made(documents[asked.path])
        if self.groups and asked.path == self.parents.path:
            return self._limited() or self._page(asked, self.parents, self.groups)
        paging = self.listing.paging
        if asked.query.get(paging.position) not in (None, "", str(paging.first)):
            self.turned()
        rows = self.listed_at(asked.path, asked.query)
        if rows is None:
            return self._one(asked)
        rows = [row for row in rows if self._is_shown(row)]
        if lacking is not None and lacking.refuses is not None:
            return lacking.refuses
        if not self.listing.needs.items() <= asked.query.items():
            return self.listing.lacks
        if self.listing.posted is not (asked.method == "POST"):
            return EmulatedAnswer(405, {"error": "another method is allowed"})
        if self.listing.shows is not None:
            param, default, path = self.listing.shows
            chosen = asked.query.get(param, default)
            rows = [one for one in rows if str(at(self.record(one, self.listing), path)) == chosen]
        return self._limited() or self._page(asked, self.listing, rows)

    def _is_shown(self, row: Row) -> bool:
        lacking = self.restriction
        return lacking is None or not (lacking.empties or row.number % lacking.every)

    def _token(self, asked: Asked) -> EmulatedAnswer:
        endpoint = self.emulation.token
        assert endpoint is not None  # noqa: S101
        wanted = {
            name: value.replace("{secret}", self.secret).replace("{url}", self.url)
            for name, value in endpoint.form.items()
        }
        sent = asked.form
        if endpoint.basic:
            scheme, _, coded = asked.headers.get("authorization", "").partition(" ")
            proof = b64decode(coded).decode() if scheme == "Basic" else ""
            if not proof.endswith(f":{self.secret}"):
                return endpoint.refused
        if asked.method != "POST" or sent | wanted != sent:
            return endpoint.refused
        if endpoint.answer is not None:
            return EmulatedAnswer(
                200, json.loads(json.dumps(endpoint.answer).replace("{token}", self.token))
            )
        return EmulatedAnswer(
            200, {"access_token": self.token, "token_type": "Bearer", "expires_in": 3600}
        )

    def _limited(self) -> EmulatedAnswer | None:
        """The provider's answer while its budget is used up."""
        if self.allowance is None:
            return None
        budget, now = self.emulation.budget, time.time()
        if now < self._opens:
            self.hasty += self._told and budget.says_when
            self._told = True
            return budget.refused
        if self.allowance > 0:
            self.allowance -= 1
            return None
        self.allowance = 1_000_000
        self._opens = now + (1.0 if budget.says_when else MATCHES)
        self._told = True
        return budget.refused

    def _made(self, answer: EmulatedAnswer) -> EmulatedAnswer:
        return EmulatedAnswer(answer.status, filled(answer.body, 0, self.url), answer.headers)

    def _page(self, asked: Asked, listing: EmulatedListing, shown: list[Row]) -> EmulatedAnswer:
        if listing.filter is not None and listing.filter.param in asked.query:
            named = re.findall(listing.filter.each, asked.query[listing.filter.param])
            if len(named) > listing.filter.most:
                return listing.filter.too_many
            # A filter also finds records that the listing leaves out.
            shown = [one for one in self.rows if self.key(one) in set(named)]
        try:
            page = page_of(listing.paging, asked.path, asked.query, shown, self.url)
        except BadPosition:
            return EmulatedAnswer(400, {"error": "the position is not one of ours"})
        if isinstance(page, EmulatedAnswer):
            return page
        found = [self._visible(one, listing, asked.query) for one in page.rows]
        bare = listing.enveloped_by is not None and (
            asked.query.get(listing.enveloped_by[0]) != listing.enveloped_by[1]
        )
        if bare or not listing.records:
            return EmulatedAnswer(200, found, page.headers)
        body = filled(listing.envelope, 0, self.url)
        records: Any = {str(at(one, listing.key)): one for one in found} if listing.keyed else found
        lists = {listing.records: records} if found or not listing.omits_empty else {}
        for path, value in (lists | dict(page.fields)).items():
            _place(body, path, value)
        if listing.mask is not None and listing.mask.whole:
            body = masked(body, asked.query.get(listing.mask.param))
        return EmulatedAnswer(200, body, page.headers)

    def _visible(self, row: Row, listing: EmulatedListing, query: dict[str, str]) -> dict[str, Any]:
        record, mask = self.record(row, listing), listing.mask
        if mask is not None and not mask.whole:
            chosen = query.get(mask.param)
            names = (
                mask.default if chosen is None else frozenset(chosen.replace(" ", "").split(","))
            )
            if names is not None:
                names |= mask.always
                record = {name: value for name, value in record.items() if name in names}
        hidden = self.restriction if listing is self.listing else None
        for path in hidden.hides if hidden else ():
            record = without(record, path)
        return record

    def _one(self, asked: Asked) -> EmulatedAnswer:
        single = self.listing.single
        if single is None:
            return self.emulation.not_found
        if single.param is None:
            pattern = re.escape(single.path).replace(re.escape("{key}"), "([^/]+)")
            match = re.fullmatch(pattern, asked.path)
            key = None if match is None else match[1]
        else:
            key = asked.query.get(single.param) if asked.path == single.path else None
        if key is None:
            return self.emulation.not_found
        if self.singles is not None:
            return self.singles
        for row in self.rows:
            if self.key(row) == key and self._is_shown(row):
                record = self._visible(row, self.listing, asked.query)
                if single.within is None:
                    return EmulatedAnswer(200, record)
                body = filled(self.listing.envelope, 0, self.url)
                _place(body, single.within, record)
                return EmulatedAnswer(200, body)
        return single.missing


def _place(body: dict[str, Any], path: str, value: Any) -> None:
    """Put a value where a path of keys leads."""
    *above, last = steps(path)
    for step in above:
        body = body.setdefault(step, {})
    body[last] = value


def _flat(document: dict[str, Any], above: str = "") -> dict[str, str]:
    """Return the scalars of a JSON body by their paths, without nulls."""
    found: dict[str, str] = {}
    for name, value in document.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{above}{name}.")
        elif value is not None:
            found[above + name] = value if isinstance(value, str) else json.dumps(value)
    return found
