"""Leases: at most one holder, however often the file of a lease is made and removed."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from elt_assets.errors import WarehouseBusy
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.warehouse import leases
from elt_assets.storage.warehouse.leases import Leases

ACME = IntegrationRef("acme", "main")


def test_a_descriptor_of_a_file_that_its_holder_has_removed_is_no_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between opening the file and locking it, its holder ends and another one begins."""
    lock, path = leases._lock, tmp_path / "main.duckdb"
    with ExitStack() as other:

        def after_another_has_begun(*arguments: Any) -> None:
            monkeypatch.setattr(leases, "_lock", lock)
            (tmp_path / "acme:main").unlink()
            other.enter_context(Leases(tmp_path).taken(ACME, path))
            lock(*arguments)

        monkeypatch.setattr(leases, "_lock", after_another_has_begun)
        with pytest.raises(WarehouseBusy), Leases(tmp_path).taken(ACME, path):
            pass


def test_a_lease_is_held_until_its_block_ends_and_leaves_no_file(tmp_path: Path) -> None:
    held, path = Leases(tmp_path), tmp_path / "main.duckdb"
    with held.taken(ACME, path):
        with pytest.raises(WarehouseBusy, match=r"^acme:main: .* another sync of this process"):
            held.refuse_if_taken(ACME, path)
        held.refuse_if_taken(IntegrationRef("acme", "other"), path)
    held.refuse_if_taken(ACME, path)
    assert list(tmp_path.iterdir()) == []


def test_the_file_that_a_killed_holder_left_is_no_lease(tmp_path: Path) -> None:
    held, path = Leases(tmp_path), tmp_path / "main.duckdb"
    (tmp_path / "acme:main").write_text("1")
    held.refuse_if_taken(ACME, path)
    with held.taken(ACME, path), pytest.raises(WarehouseBusy), held.taken(ACME, path):
        pass
