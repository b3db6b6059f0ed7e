"""Every fault by name, and the plan that applies faults to an integration's requests."""

from __future__ import annotations

import random
from contextlib import suppress
from urllib.parse import parse_qsl, urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from elt_assets.demo.wire import Wire
from elt_assets.demo.world import Directory
from elt_assets.errors import InvalidInput
from elt_assets.identifiers import IntegrationRef
from elt_assets_tests.testbed.faulty_provider import (
    false_claims,
    paging_faults,
    population_changes,
    record_faults,
    wire_faults,
)
from elt_assets_tests.testbed.faulty_provider.fault import (
    Affliction,
    EditablePage,
    Exchange,
    Fault,
    OneAnswer,
    Plan,
    Suffered,
)

FAULTS: dict[str, Fault] = {
    fault.name: fault
    for fault in (
        *wire_faults.FAULTS,
        *paging_faults.FAULTS,
        *record_faults.FAULTS,
        *population_changes.FAULTS,
        *false_claims.FAULTS,
    )
}

END = "void-end"
"""The cursor of an empty last page."""


class _Data(msgspec.Struct):
    items: list[msgspec.Raw]
    next: str | None
    total: int


class _Page(msgspec.Struct):
    data: _Data


class Afflictions:
    """The fault plans of all integrations."""

    def __init__(self) -> None:
        self._planned: dict[IntegrationRef, Affliction] = {}

    def order(self, ref: IntegrationRef, plan: Plan) -> Suffered:
        """Set the plan of `ref`. Raises `InvalidInput` for an unknown fault."""
        for order in plan.orders:
            if order.fault not in FAULTS:
                raise InvalidInput(f"plan: there is no fault {order.fault!r}")
        self._planned[ref] = Affliction(plan, random.Random(plan.seed))
        return self.suffered(ref)

    def lift(self, ref: IntegrationRef) -> Suffered:
        """End the plan of `ref`; return what it did."""
        suffered = self.suffered(ref)
        self._planned.pop(ref, None)
        return suffered

    def suffered(self, ref: IntegrationRef) -> Suffered:
        """What the plan of `ref` has done so far."""
        affliction = self._planned.get(ref)
        if affliction is None:
            return Suffered()
        return Suffered(
            requests=affliction.requests,
            fired=dict(affliction.fired),
            keys=sorted(affliction.keys),
            strayed=affliction.strayed,
        )

    def of(self, ref: IntegrationRef) -> Affliction | None:
        """The state of the plan of `ref`."""
        return self._planned.get(ref)


class Chaos:
    """A middleware that applies the plans of faults."""

    def __init__(self, app: ASGIApp, directory: Directory, afflictions: Afflictions) -> None:
        self._app = app
        self._directory = directory
        self._afflictions = afflictions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        ref, key = _requested(scope["path"])
        if ref is not None and key is not None:
            await self._about_one(ref, key, scope, receive, send)
            return
        affliction = None if ref is None else self._afflictions.of(ref)
        if ref is None or affliction is None:
            await self._app(scope, receive, send)
        else:
            await self._suffer(ref, affliction, scope, receive, send)

    async def _about_one(
        self, ref: IntegrationRef, key: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answer a request for one user, changed by the plan's faults that concern single users."""
        affliction = self._afflictions.of(ref)
        orders = [] if affliction is None else affliction.plan.orders
        faults = [fault for order in orders if (fault := FAULTS[order.fault]).single]
        if affliction is None or not faults:
            await self._app(scope, receive, send)
            return
        status, body = await _answered(self._app, scope, receive)
        answer = OneAnswer(status, "application/json", body)
        for fault in faults:
            told = answer if fault.single is None else fault.single(key, answer)
            if told != answer:
                affliction.fired[fault.name] += 1
                answer = told
        headers = {"content-type": answer.content_type}
        await Response(answer.body, answer.status, headers)(scope, receive, send)

    async def _suffer(
        self,
        ref: IntegrationRef,
        affliction: Affliction,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        affliction.requests += 1
        number = affliction.requests
        headers = Request(scope).headers
        own = f"{scope['server'][0]}:{scope['server'][1]}"
        affliction.strayed += headers.get("host") != own
        exchange = Exchange(
            directory=self._directory,
            ref=ref,
            affliction=affliction,
            query=dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)),
            authorization=headers.get("authorization", ""),
            port=scope["server"][1],
        )
        _resolve_alias(exchange)
        orders = affliction.plan.orders
        faults = [FAULTS[o.fault] for o in orders if o.at <= number < o.at + o.times]
        fired = {
            fault.name for fault in faults if fault.begin and fault.begin(exchange) is not False
        }
        status, body = await self._clean(exchange, scope, receive)
        if status == 200:
            exchange.page = _decoded(body, exchange)
            exchange.page.total = (exchange.page.total or 0) + sum(
                FAULTS[order.fault].extra for order in orders
            )
            served = list(exchange.page.records)
            fired |= {
                fault.name for fault in faults if fault.act and fault.act(exchange) is not False
            }
            affliction.earlier.append(served)
        else:
            exchange.status, exchange.spoiled = status, body
        affliction.fired.update(fired)
        if exchange.delivery is not None:
            wire = Wire.under(scope, receive)
            await exchange.delivery(wire)
            await wire.gone()
        else:
            response = Response(exchange.body, exchange.status, exchange.headers)
            await response(scope, receive, send)

    async def _clean(self, exchange: Exchange, scope: Scope, receive: Receive) -> tuple[int, bytes]:
        """Return the complete answer of the application, without faults."""
        query = {name: value for name, value in exchange.query.items() if value != END}
        asked = {**scope, "query_string": urlencode(query).encode()}
        return await _answered(self._app, asked, receive)


async def _answered(app: ASGIApp, scope: Scope, receive: Receive) -> tuple[int, bytes]:
    status, parts = 500, []

    async def keep(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        else:
            parts.append(message.get("body", b""))

    await app(scope, receive, keep)
    return status, b"".join(parts)


def _requested(path: str) -> tuple[IntegrationRef | None, str | None]:
    """The integration whose users this path reads, and the id if it names one user."""
    match path.split("/"):
        case ["", "v1", organization, integration, "users", *key] if len(key) < 2:
            with suppress(InvalidInput):
                return IntegrationRef(organization, integration), key[0] if key else None
    return None, None


def _resolve_alias(exchange: Exchange) -> None:
    """Replace a cursor that is an alias by the cursor that it stands for."""
    aliases = exchange.affliction.aliases
    cursor = exchange.query.pop("cursor", None)
    while cursor in aliases:
        cursor = aliases[cursor]
    if cursor is not None:
        exchange.query["cursor"] = cursor


def _decoded(body: bytes, exchange: Exchange) -> EditablePage:
    if exchange.query.get("cursor") == END:
        return EditablePage(total=msgspec.json.decode(body, type=_Page).data.total)
    clean = msgspec.json.decode(body, type=_Page).data
    return EditablePage([bytes(record) for record in clean.items], clean.next, clean.total)
