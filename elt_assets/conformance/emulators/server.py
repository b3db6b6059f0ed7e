"""One server for every emulation: a thread for each connection, on a free loopback port."""

from __future__ import annotations

import json
import re
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from elt_assets.conformance.emulators.description import Answer, Emulation, Listing, Restriction
from elt_assets.conformance.emulators.listing import (
    BadPosition,
    Row,
    at,
    filled,
    masked,
    page_of,
    steps,
    without,
)

MATCHES = 0.05
"""Seconds for which a budget stays used up where the provider does not say how long it does."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    form: dict[str, str]


class Emulator:
    """Serves what a stream of an emulation reads. Its attributes change how it behaves."""

    def __init__(self, emulation: Emulation, stream: str = "users") -> None:
        self.emulation = emulation
        self.stream = stream
        self.secret = f"s3cret-{secrets.token_hex(12)}"
        self.token = f"t0ken-{secrets.token_hex(12)}"
        self.rows: list[Row] = []
        """What the stream reads."""
        self.groups: list[Row] = []
        """Whose members the rows are, where they are members."""
        self.restriction: Restriction | None = None
        self.singles: Answer | None = None
        """The answer to every question for one record, in place of the right one."""
        self.turned: Callable[[], None] = lambda: None
        """Called before a page other than the first of its list is made."""
        self.allowance: int | None = None
        """Pages that may be requested before the budget is used up."""
        self.hasty = 0
        """Requests that came although the budget was used up and an answer had said until when."""
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
    def listing(self) -> Listing:
        """The listing that the stream reads."""
        return self.emulation.listings[self.stream]

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def populate(self, count: int) -> None:
        """Replace the rows by `count` numbered ones, their states in turn.

        Members are of the second of five groups and, once for each state, of the third one.
        """
        states = self.listing.states
        in_turn = [states[number % len(states)] for number in range(1, count + 1)]
        if self.listing.parent is None:
            self.rows = [Row(number, state) for number, state in enumerate(in_turn, 1)]
            return
        self.groups = [Row(number, _parents(self.emulation).states[0]) for number in range(1, 6)]
        self.rows = [Row(number, state, 2) for number, state in enumerate(in_turn, 1)]
        self.rows += [Row(number, state, 3) for number, state in enumerate(states, 1)]

    def listed(self) -> list[Row]:
        """The rows that a listing shows to credentials that lack nothing."""
        return [row for row in self.rows if row.state.listed]

    def key(self, row: Row) -> str:
        """What identifies a row: its key, of a member a JSON list of its group's and its own."""
        own = str(at(self._record(row, self.listing), self.listing.key))
        if self.listing.parent is None:
            return own
        return json.dumps([self._group_at(row, _parents(self.emulation).key), own])

    def expected(self, row: Row) -> dict[str, Any]:
        """What of a row must stand in the stream's table."""
        expects = {**self.listing.expects, **row.state.expects}
        found: dict[str, Any] = filled(expects, row.number, self.url)
        if self.stream == "users":
            found["active"] = row.state.active
        return found

    def _record(self, row: Row, listing: Listing) -> dict[str, Any]:
        """A row's whole record."""
        whole = filled(listing.record, row.number, self.url)
        for path, value in row.state.changes.items():
            holder, last = whole, steps(path)
            for step in last[:-1]:
                holder = holder.setdefault(step, {})
            holder[last[-1]] = filled(value, row.number, self.url)
        return dict(whole)

    def _group_at(self, row: Row, path: str) -> str:
        """What stands at `path` in the record of a member's group."""
        parents = _parents(self.emulation)
        return str(at(self._record(Row(row.group, parents.states[0]), parents), path))

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        asked = Asked(
            handler.command,
            unquote(parts.path),
            {k: v[0] for k, v in parse_qs(parts.query, keep_blank_values=True).items()},
            {name.lower(): value for name, value in handler.headers.items()},
            {k: v[0] for k, v in parse_qs(body.decode("utf-8", "replace")).items()},
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

    def _answer(self, asked: Asked) -> Answer:
        emulation = self.emulation
        if emulation.token is not None and asked.path == emulation.token.path:
            return self._token(asked)
        gate = emulation.gate
        wanted = gate.value.replace("{secret}", self.secret).replace("{token}", self.token)
        if asked.headers.get(gate.header.lower()) != wanted:
            return gate.refused
        for name, value in emulation.required.items():
            if asked.headers.get(name.lower()) != value:
                return Answer(403, {"message": f"header {name} is missing or wrong"})
        lacking = self.restriction
        documents = {**emulation.documents, **(lacking.documents if lacking else {})}
        if asked.path in documents:
            return self._made(documents[asked.path])
        if self.groups and asked.path == _parents(emulation).path:
            return self._limited() or self._page(asked, _parents(emulation), self.groups)
        paging = self.listing.paging
        if asked.query.get(paging.position) not in (None, "", str(paging.first)):
            self.turned()
        rows = self._listed_at(asked.path)
        if rows is None:
            return self._one(asked)
        if lacking is not None and lacking.refuses is not None:
            return lacking.refuses
        if not self.listing.needs.items() <= asked.query.items():
            return self.listing.lacks
        return self._limited() or self._page(asked, self.listing, rows)

    def _listed_at(self, path: str) -> list[Row] | None:
        """The rows of the list at an address, None where there is no list."""
        listing, parent = self.listing, self.listing.parent
        shown = self.listed()
        if parent is None:
            found = shown if path == listing.path else None
        else:
            places = {
                self._group_at(Row(0, group.state, group.number), parent): group.number
                for group in self.groups
            }
            number = next(
                (n for step, n in places.items() if path == listing.path.replace("{parent}", step)),
                None,
            )
            found = None if number is None else [row for row in shown if row.group == number]
        if found is None or self.restriction is None:
            return found
        return [row for row in found if self._is_shown(row)]

    def _is_shown(self, row: Row) -> bool:
        lacking = self.restriction
        return lacking is None or not (lacking.empties or row.number % lacking.every)

    def _token(self, asked: Asked) -> Answer:
        endpoint = self.emulation.token
        assert endpoint is not None  # noqa: S101
        wanted = {
            name: value.replace("{secret}", self.secret).replace("{url}", self.url)
            for name, value in endpoint.form.items()
        }
        sent = asked.form
        if endpoint.basic:
            from base64 import b64decode

            scheme, _, coded = asked.headers.get("authorization", "").partition(" ")
            proof = b64decode(coded).decode() if scheme == "Basic" else ""
            if not proof.endswith(f":{self.secret}"):
                return endpoint.refused
        if asked.method != "POST" or sent | wanted != sent:
            return endpoint.refused
        return Answer(200, {"access_token": self.token, "token_type": "Bearer", "expires_in": 3600})

    def _limited(self) -> Answer | None:
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

    def _made(self, answer: Answer) -> Answer:
        return Answer(answer.status, filled(answer.body, 0, self.url), answer.headers)

    def _page(self, asked: Asked, listing: Listing, shown: list[Row]) -> Answer:
        if listing.filter is not None and listing.filter.param in asked.query:
            named = re.findall(listing.filter.each, asked.query[listing.filter.param])
            if len(named) > listing.filter.most:
                return listing.filter.too_many
            # A filter also finds what the listing leaves out.
            shown = [one for one in self.rows if self.key(one) in set(named)]
        try:
            page = page_of(listing.paging, asked.path, asked.query, shown, self.url)
        except BadPosition:
            return Answer(400, {"error": "the position is not one of ours"})
        if isinstance(page, Answer):
            return page
        found = [self._visible(one, listing, asked.query) for one in page.rows]
        bare = listing.enveloped_by is not None and (
            asked.query.get(listing.enveloped_by[0]) != listing.enveloped_by[1]
        )
        if bare or not listing.records:
            return Answer(200, found, page.headers)
        body = filled(listing.envelope, 0, self.url)
        if found or not listing.omits_empty:
            body[listing.records] = found
        for path, value in page.fields.items():
            holder = body
            *above, last = steps(path)
            for step in above:
                holder = holder.setdefault(step, {})
            holder[last] = value
        if listing.mask is not None and listing.mask.whole:
            body = masked(body, asked.query.get(listing.mask.param))
        return Answer(200, body, page.headers)

    def _visible(self, row: Row, listing: Listing, query: dict[str, str]) -> dict[str, Any]:
        record, mask = self._record(row, listing), listing.mask
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

    def _one(self, asked: Asked) -> Answer:
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
                    return Answer(200, record)
                return Answer(200, {**self.listing.envelope, single.within: record})
        return single.missing


def _parents(emulation: Emulation) -> Listing:
    """The listing of groups, whose members another one lists."""
    return emulation.listings["groups"]
