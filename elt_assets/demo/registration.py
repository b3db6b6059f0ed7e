"""The provider_data for reading the embedded provider as provider `rest`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from elt_assets.identifiers import IntegrationRef


def provider_data(
    url: str,
    ref: IntegrationRef,
    token_ref: Mapping[str, str],
    *,
    limit: int | None = None,
    single: bool = False,
    groups: bool = False,
    signins: bool = False,
) -> dict[str, Any]:
    """provider_data that reads `ref` from the embedded provider at `url`.

    `token_ref` is the reference to the token, {env: NAME} or {file: PATH}. `limit` is the page
    size, by default the provider's. With `single` the platform probes a person before it deletes
    the row, with `groups` it reads departments as groups with their members, with `signins` a
    day's sign-ins.
    """
    params = {"status": "all"} | ({} if limit is None else {"limit": str(limit)})
    return {
        "permission_source_name": f"Demo directory {ref}",
        "api_endpoint": f"{url}/v1/{ref.organization_id}/{ref.integration_id}",
        "auth": {"type": "bearer", "token": dict(token_ref)},
        "streams": {
            "users": {
                "path": "/users",
                "params": params,
                **_PAGED,
                **({"single": {"path": "/users/{external_id}"}} if single else {}),
                "fields": {
                    "external_id": "id",
                    "name": "profile.displayName",
                    "email": "profile.email",
                    "active": 'status == "ACTIVE"',
                    "source_updated_at": "lastUpdated",
                    "department": "profile.department",
                    "title": "profile.title",
                },
            },
            **(_GROUPS if groups else {}),
            **(_SIGNINS if signins else {}),
        },
    }


_PAGED: dict[str, Any] = {
    "records": "data.items",
    "pagination": {"type": "cursor", "cursor": "data.next", "param": "cursor"},
    "total": "data.total",
}
_GROUPS: dict[str, Any] = {
    "groups": {
        "path": "/groups",
        **_PAGED,
        "single": {"path": "/groups/{external_id}"},
        "fields": {"external_id": "id", "name": "name", "description": "description"},
    },
    "group_memberships": {
        "parent": {"stream": "groups"},
        "path": "/groups/{parent}/members",
        **_PAGED,
        "fields": {"group_external_id": "$parent", "member_external_id": "id", "kind": "type"},
    },
}
_SIGNINS: dict[str, Any] = {
    "signin_events": {
        "path": "/signins",
        "params": {"from": "{from}", "to": "{to}"},
        **_PAGED,
        "fields": {
            "event_id": "id",
            "occurred_at": "occurredAt",
            "user_external_id": "actor.id",
            "result": "result",
            "country": "client.country",
            "ip": "client.ip",
            "user_agent": "client.userAgent",
            "application": "application",
            "source_updated_at": "recordedAt",
        },
    },
}
