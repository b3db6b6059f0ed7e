"""What the tests of dlt sources share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from elt_assets.config.secret_refs import Secrets
from elt_assets.connectors import catalog
from elt_assets.connectors.limits import FetchLimits
from elt_assets.connectors.source import Source
from elt_assets.connectors.tenant_rules import TenantRules

PEOPLE = "elt_assets_tests.connectors.dlt.people_sources"
FIELDS = {"external_id": "id", "name": "name", "email": "contact.email"}

OpenDlt = Callable[..., Source]


def dlt_data(function: str, resource: str | None = None, **more: Any) -> dict[str, Any]:
    """provider_data that reads `function` of the tests' own sources as users."""
    arguments = more.pop("arguments", {})
    stream = {"fields": FIELDS, "resource": resource, **more}
    return {
        "source": function if ":" in function else f"{PEOPLE}:{function}",
        "arguments": arguments,
        "streams": {"users": stream},
    }


@pytest.fixture
def everybody() -> Iterator[set[int]]:
    """The numbers of people who left, for tests that let some leave."""
    from elt_assets_tests.connectors.dlt import people_sources

    yield people_sources.LEAVERS
    people_sources.LEAVERS.clear()


def opened(data: dict[str, Any], secrets: Secrets | None = None, **limits: Any) -> Source:
    chosen = {
        "attempts": 2,
        "first_wait": 0.001,
        "timeout": 10.0,
        "page_bytes": 1 << 20,
        "max_pages": 100,
        "rules": TenantRules(allow_code=True),
        **limits,
    }
    return catalog.open_source(
        "dlt", data, "users", secrets=secrets or Secrets(), limits=FetchLimits(**chosen)
    )
