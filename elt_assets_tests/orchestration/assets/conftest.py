"""Fixtures for tests that run the assets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from elt_assets_tests.testbed.fleet import Fleet, opened_fleet


@pytest.fixture
def fleet(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    with opened_fleet(monkeypatch) as fleet:
        yield fleet
