"""A plain client of the embedded provider, as a test would write it for any provider."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import urllib3

from elt_assets.demo.people import truth
from elt_assets.demo.process import ProviderProcess
from elt_assets.identifiers import IntegrationRef


@dataclass(frozen=True)
class Answer:
    status: int
    headers: urllib3.HTTPHeaderDict
    body: Any


def call(
    provider: ProviderProcess, path: str, *, method: str = "GET", token: str | None = "its own"
) -> Answer:
    """One request, with the provider's own token, another one, or none."""
    credential = provider.token if token == "its own" else token
    headers = {} if credential is None else {"Authorization": f"Bearer {credential}"}
    with urllib3.PoolManager() as http:
        response = http.request(method, provider.url + path, headers=headers, retries=False)
    return Answer(response.status, response.headers, json.loads(response.data))


def users_path(ref: IntegrationRef, **query: object) -> str:
    return f"/v1/{ref.organization_id}/{ref.integration_id}/users?{urlencode(query)}"


def read_page(provider: ProviderProcess, ref: IntegrationRef, **query: object) -> dict[str, Any]:
    answer = call(provider, users_path(ref, **query))
    assert answer.status == 200, answer.body
    data: dict[str, Any] = answer.body["data"]
    return data


def read_all(provider: ProviderProcess, ref: IntegrationRef, **query: object) -> list[Any]:
    """Every record, following cursors to the end."""
    page = read_page(provider, ref, **query)
    records: list[Any] = page["items"]
    while page["next"] is not None:
        page = read_page(provider, ref, **query | {"cursor": page["next"]})
        records += page["items"]
    return records


def read_truth(provider: ProviderProcess, ref: IntegrationRef) -> list[dict[str, Any]]:
    """What the platform should hold, judged by reading every page."""
    return truth(read_all(provider, ref, limit=1000))
