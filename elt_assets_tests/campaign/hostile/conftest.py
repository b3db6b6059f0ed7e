"""Fixtures of the hostile suite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from elt_assets_tests.campaign.hostile.installations import Installation, installed


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    """An installation and its unharmed neighbour."""
    with installed(tmp_path, monkeypatch) as made:
        yield made
