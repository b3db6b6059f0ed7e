from __future__ import annotations

from collections import Counter

import urllib3
from urllib3.exceptions import DecodeError, HTTPError, ProtocolError

from elt_assets.demo.layout import DemoLayout
from elt_assets.demo.process import ProviderProcess
from elt_assets.identifiers import IntegrationRef
from elt_assets_tests.demo.reading import users_path

PEOPLE = IntegrationRef("demo-001", "people-001")


def test_a_provider_with_chaos_fails_its_share_in_every_way_and_serves_the_rest() -> None:
    layout = DemoLayout(organizations=1, integrations=1, users=15, chaos=0.5)
    with ProviderProcess(layout) as provider:
        outcomes = Counter(attempted(provider) for _ in range(100))
    assert outcomes.keys() == {"200", "500", "503", "connection", "body", "gzip"}
    assert 20 < outcomes["200"] < 80


def attempted(provider: ProviderProcess) -> str:
    try:
        with urllib3.PoolManager() as http:
            response = http.request(
                "GET",
                provider.url + users_path(PEOPLE),
                headers={"Authorization": f"Bearer {provider.token}"},
                retries=False,
                preload_content=False,
            )
            packed = response.headers.get("content-encoding") == "gzip"
            try:
                response.read()
            except (DecodeError, ProtocolError):
                return "body"
            return "gzip" if packed else str(response.status)
    except HTTPError:
        return "connection"
