"""A provider that nobody has heard of, connected by YAML alone."""

from __future__ import annotations

import pytest
import yaml

from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import USERS
from elt_assets_tests.connectors.serving import Asked, Provider, Reply, as_json

REF = IntegrationRef("acme", "unheard-of")
CONFIGURATION = """
api_endpoint: {url}/directory
auth: {{type: bearer, token: {{env: UNHEARD_OF_TOKEN}}}}
streams:
  users:
    path: /people
    params: {{expand: contact}}
    pagination: {{type: link_header}}
    fields:
      external_id: uuid
      name: given + ' ' + family
      email: contacts[kind == "email"].address
      active: retired != true
      office: office.city
"""


def test_a_new_provider_with_a_token_and_link_headers_needs_yaml_only(
    provider: Provider, platform: SyncService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNHEARD_OF_TOKEN", "a-token")
    staff = [
        {
            "uuid": f"p-{number}",
            "given": "Ada",
            "family": f"L{number}",
            "contacts": [
                {"kind": "phone", "address": "1"},
                {"kind": "email", "address": f"ada{number}@example.com"},
            ],
            "retired": number == 3,
            "office": {"city": "London"},
        }
        for number in range(25)
    ]

    def answer(asked: Asked) -> Reply:
        if asked.headers.get("authorization") != "Bearer a-token":
            return as_json({}, 401)
        start = int(asked.query.get("from", "0"))
        link = f'<{provider.url}/directory/people?expand=contact&from={start + 10}>; rel="next"'
        return as_json(staff[start : start + 10], **({"link": link} if start < 20 else {}))

    provider.answer = answer
    platform.registry.add(REF, "rest", yaml.safe_load(CONFIGURATION.format(url=provider.url)))
    (warning,) = platform.preview(USERS, REF).warnings
    assert "configure `single` if the provider can return one record" in warning
    (outcome,) = platform.sync(USERS, [REF], sync_id="first")
    assert (outcome.status, outcome.error) == ("applied", None)
    assert {
        (one["external_id"], one["name"], one["email"], one["active"], one["attributes"]["office"])
        for one in platform.records(USERS, REF)
    } == {
        (f"p-{number}", f"Ada L{number}", f"ada{number}@example.com", number != 3, "London")
        for number in range(25)
    }
