"""Makes the models of the foreign server quickly."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def undescribed_models() -> Iterator[None]:
    """Models of SCIM have no descriptions: pydantic takes five seconds to find the docstrings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pydantic._internal._fields.extract_docstrings_from_cls", lambda *_, **__: {})
        yield
