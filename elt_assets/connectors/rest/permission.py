"""Check that the credentials may see all records, at providers that silently hide the others."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from elt_assets.connectors.http.error_bodies import complaint
from elt_assets.connectors.http.http_client import Client, PageRequest, Response, Unauthorized
from elt_assets.connectors.json.json_limits import decode
from elt_assets.connectors.mapping.evaluate import holds
from elt_assets.connectors.mapping.expression_parser import parse
from elt_assets.connectors.rest.configuration.stream_parts import RequiredPermission
from elt_assets.connectors.rest.configuration.text_types import written
from elt_assets.errors import PageUnreadable, ProviderRefused

_WHAT = "the check of permissions"


def confirm_by_request(
    client: Client, endpoint: str, required: RequiredPermission
) -> tuple[str, ...]:
    """Raise `ProviderRefused` if the answer to the request shows that the permission is missing.

    Returns a doubt about the listing if the answer is not an object, so that it cannot show
    permissions.
    """
    if required.path is None or required.holds is None:
        return ()
    condition = parse(required.holds)

    def read(response: Response) -> tuple[bool | None, str]:
        try:
            answer = decode(response.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise PageUnreadable(f"{_WHAT} is not answered in JSON") from None
        granted = holds(condition, answer) if isinstance(answer, dict) else None
        return granted, complaint(response.body)

    params = {name: written(value) for name, value in required.params.items()}
    request = PageRequest(_WHAT, f"{endpoint}/{required.path.lstrip('/')}", params)
    try:
        granted, said = client.fetch(request, read)
    except Unauthorized:
        # The credentials themselves are wrong, so `otherwise` about permissions does not apply.
        raise
    except ProviderRefused as error:
        raise ProviderRefused(f"{error}. {required.otherwise}") from None
    if granted is None:
        return (f"{_WHAT} is not answered with an object; more records may be hidden",)
    if not granted and said:
        raise ProviderRefused(
            f"{_WHAT} is answered with an error{said}; correct the credentials or their permissions"
        )
    if not granted:
        raise ProviderRefused(f"{_WHAT} failed: {required.otherwise}")
    return ()


def confirm_by_header(
    what: str, headers: Mapping[str, str], required: RequiredPermission | None
) -> None:
    """Raise `ProviderRefused` if a page's header lists the granted scopes and one is missing."""
    if required is None or required.header is None:
        return
    granted = headers.get(required.header)
    if granted is not None and not set(required.scopes) <= set(granted.replace(",", " ").split()):
        raise ProviderRefused(f"{what} lacks a required scope: {required.otherwise}")
