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

from elt_assets.conformance.emulators.description import Answer, Emulation, Restriction, State
from elt_assets.conformance.emulators.listing import (
    Account,
    BadPosition,
    at,
    filled,
    masked,
    page_of,
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
    """Serves an emulation. Change its attributes while it runs to change how it behaves."""

    def __init__(self, emulation: Emulation) -> None:
        self.emulation = emulation
        self.secret = f"s3cret-{secrets.token_hex(12)}"
        self.token = f"t0ken-{secrets.token_hex(12)}"
        self.accounts: list[Account] = []
        self.restriction: Restriction | None = None
        self.singles: Answer | None = None
        """The answer to every question for one record, in place of the right one."""
        self.after_page: Callable[[int], None] = lambda _: None
        """Called with the number of pages that have been sent, before the next is made."""
        self.allowance: int | None = None
        """Pages that may be requested before the budget is used up."""
        self.hasty = 0
        """Requests that came although the budget was used up and an answer had said until when."""
        self.asked: list[Asked] = []
        self.pages = 0
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

    def populate(self, count: int, states: tuple[State, ...] | None = None) -> None:
        """Replace the accounts by `count` numbered ones, their states in turn."""
        states = states or self.emulation.states
        self.accounts = [
            Account(number, states[number % len(states)]) for number in range(1, count + 1)
        ]

    def listed(self) -> list[Account]:
        """The accounts that a listing shows to credentials that lack nothing."""
        return [account for account in self.accounts if account.state.listed]

    def record(self, account: Account) -> dict[str, Any]:
        """An account's whole record."""
        whole = filled(self.emulation.record, account.number, self.url)
        for path, value in account.state.changes.items():
            holder, last = whole, path.split(".")
            for step in last[:-1]:
                holder = holder.setdefault(step, {})
            holder[last[-1]] = filled(value, account.number, self.url)
        return dict(whole)

    def key(self, account: Account) -> str:
        """The value by which an account is known."""
        return str(at(self.record(account), self.emulation.key))

    def expected(self, account: Account) -> dict[str, Any]:
        """What of an account must stand in the table of users."""
        expects = {**self.emulation.expects, **account.state.expects}
        found = filled(expects, account.number, self.url)
        return {**found, "active": account.state.active}

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
        if asked.path == emulation.path:
            if lacking is not None and lacking.refuses is not None:
                return lacking.refuses
            if not emulation.needs.items() <= asked.query.items():
                return emulation.lacks
            return self._limited() or self._listing(asked)
        return self._one(asked)

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

    def _listing(self, asked: Asked) -> Answer:
        emulation = self.emulation
        self.after_page(self.pages)
        self.pages += 1
        shown = self.listed()
        if self.restriction is not None:
            shown = [one for one in shown if one.number % self.restriction.every == 0]
        if emulation.filter is not None and emulation.filter.param in asked.query:
            named = re.findall(emulation.filter.each, asked.query[emulation.filter.param])
            if len(named) > emulation.filter.most:
                return emulation.filter.too_many
            # A filter also finds what the listing leaves out.
            shown = [one for one in self.accounts if self.key(one) in set(named)]
        try:
            page = page_of(emulation.paging, asked.path, asked.query, shown, self.url)
        except BadPosition:
            return Answer(400, {"error": "the position is not one of ours"})
        if isinstance(page, Answer):
            return page
        found = [self._visible(one, asked.query) for one in page.accounts]
        bare = emulation.enveloped_by is not None and (
            asked.query.get(emulation.enveloped_by[0]) != emulation.enveloped_by[1]
        )
        if bare or not emulation.records:
            return Answer(200, found, page.headers)
        body = filled(emulation.envelope, 0, self.url)
        body[emulation.records] = found
        for path, value in page.fields.items():
            holder = body
            *steps, last = re.split(r"\.(?=[a-z_]+(?:\.|$))", path) if "@" not in path else [path]
            for step in steps:
                holder = holder.setdefault(step, {})
            holder[last] = value
        if emulation.mask is not None and emulation.mask.whole:
            body = masked(body, asked.query.get(emulation.mask.param))
        return Answer(200, body, page.headers)

    def _visible(self, account: Account, query: dict[str, str]) -> dict[str, Any]:
        record = self.record(account)
        mask = self.emulation.mask
        if mask is not None and not mask.whole:
            chosen = query.get(mask.param)
            names = (
                mask.default if chosen is None else frozenset(chosen.replace(" ", "").split(","))
            )
            if names is not None:
                names |= mask.always
                record = {name: value for name, value in record.items() if name in names}
        for path in self.restriction.hides if self.restriction else ():
            record = without(record, path)
        return record

    def _one(self, asked: Asked) -> Answer:
        single = self.emulation.single
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
        every = 1 if self.restriction is None else self.restriction.every
        for account in self.accounts:
            if self.key(account) == key and account.number % every == 0:
                record = self._visible(account, asked.query)
                if single.within is None:
                    return Answer(200, record)
                return Answer(200, {**self.emulation.envelope, single.within: record})
        return single.missing
