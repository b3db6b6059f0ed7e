"""A company whose stores are of each kind in turn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from elt_assets_tests.sync.worlds import Company


@pytest.fixture
def company(backend: str, tmp_path: Path) -> Iterator[Company]:
    """An empty installation."""
    made = Company(tmp_path / "home")
    yield made
    made.platform.close()
