"""What the embedded provider's routes have in common: references, bodies, answers and errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from elt_assets.errors import InvalidInput, NotFound
from elt_assets.identifiers import IntegrationRef

T = TypeVar("T")


def ref_of(request: Request) -> IntegrationRef:
    """The integration that the path names."""
    return IntegrationRef(request.path_params["organization"], request.path_params["integration"])


async def body_as(request: Request, shape: type[T], what: str) -> T:
    """The request's body as `shape`. Raises `InvalidInput`."""
    try:
        return msgspec.json.decode(await request.body(), type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"{what}: {error}") from None


def in_thread(handler: Callable[[Request], object]) -> Callable[[Request], Any]:
    """Return an endpoint that runs `handler` in a thread: it may process a million people."""

    async def endpoint(request: Request) -> Response:
        return await run_in_threadpool(lambda: json_answer(handler(request)))

    return endpoint


def json_answer(content: object, status: int = 200) -> Response:
    """An answer of `content` as JSON."""
    return Response(msgspec.json.encode(content), status, media_type="application/json")


def error_answer(request: Request, status: int, code: str, message: str) -> Response:
    """An error as a provider describes it, with the number of the request."""
    return json_answer(
        {
            "error": {"code": code, "message": message},
            "requestId": request.scope.get("request_id"),
        },
        status,
    )


async def _not_found(request: Request, error: Exception) -> Response:
    return error_answer(request, 404, "not_found", str(error))


async def _bad_request(request: Request, error: Exception) -> Response:
    return error_answer(request, 400, "invalid_request", str(error))


async def _http_error(request: Request, error: Exception) -> Response:
    refused = cast(HTTPException, error)
    code = {404: "not_found", 405: "method_not_allowed"}.get(refused.status_code, "http_error")
    return error_answer(request, refused.status_code, code, refused.detail)


ERROR_HANDLERS = {
    NotFound: _not_found,
    InvalidInput: _bad_request,
    HTTPException: _http_error,
}
