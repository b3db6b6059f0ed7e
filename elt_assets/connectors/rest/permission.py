"""Whether the credentials see everybody, at providers that leave out the rest in silence."""

from __future__ import annotations

import msgspec

from elt_assets.connectors.http.error_bodies import complaint
from elt_assets.connectors.http.http_client import Client, Request, Response
from elt_assets.connectors.json.json_limits import decode
from elt_assets.connectors.mapping.evaluate import holds
from elt_assets.connectors.mapping.expressions import parse
from elt_assets.connectors.rest.provider_data import RequiredPermission, written
from elt_assets.errors import PageUnreadable, ProviderRefused

_WHAT = "the check of permissions"


def confirm_permission(client: Client, endpoint: str, required: RequiredPermission) -> None:
    """Raise `ProviderRefused` unless the provider's answer bears the permission out."""

    def read(response: Response) -> tuple[bool, str]:
        said = complaint(response.body)
        if required.header is not None:
            granted = (response.headers.get(required.header) or "").replace(",", " ").split()
            return set(required.scopes) <= set(granted), said
        try:
            answer = decode(response.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise PageUnreadable(f"{_WHAT} is not answered in JSON") from None
        return required.holds is None or holds(parse(required.holds), answer), said

    params = {name: written(value) for name, value in required.params.items()}
    request = Request(_WHAT, f"{endpoint}/{required.path.lstrip('/')}", params)
    try:
        granted, said = client.fetch(request, read)
    except ProviderRefused as error:
        raise ProviderRefused(f"{error}. {required.otherwise}") from None
    if not granted and said:
        raise ProviderRefused(
            f"{_WHAT} is answered with an error{said}; correct the credentials or their permissions"
        )
    if not granted:
        raise ProviderRefused(f"{_WHAT} failed: {required.otherwise}")
