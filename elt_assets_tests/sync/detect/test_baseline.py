"""Rows stored by a release that gave values another form: they are not what changed."""

from __future__ import annotations

import hashlib
import json

from elt_assets.connectors.mapping.expressions import Path, Unordered
from elt_assets.sync.outcome import Mode, Status
from elt_assets_tests.sync.worlds import Company, World, expected, people, person

NESTED = {"z": 1, "a": {"y": "é", "x": 2.0}}


def store_as_before(company: Company, key: str, name: str, attributes: str) -> None:
    """Put the row of `key` as the earlier release wrote it, with that release's hash."""
    row = company.users()[key]
    content = [name, row["email"], "true", attributes]
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
    hashed = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
    with company.platform.database.transaction() as transaction:
        changed = transaction.execute(
            "UPDATE users_latest SET name = ?, attributes = ?, content_hash = ?"
            " WHERE external_id = ?",
            (name, attributes, hashed, key),
        )
    assert changed == 1


def test_an_empty_text_and_another_order_of_members_are_no_change(company: Company) -> None:
    company.connect(world=World([person(0, name=""), person(1, team=NESTED), *people(9)[2:]]))
    company.sync()
    store_as_before(company, "u-0000", "", '{"team":"blue"}')
    store_as_before(company, "u-0001", "Person 1", '{"team":{"z":1,"a":{"y":"é","x":2.0}}}')
    for number, mode in enumerate((Mode.FULL, Mode.FULL, None)):
        outcome = company.sync(sync_id=f"again{number}", mode=mode)
        assert (outcome.status, outcome.counts.unchanged) == (Status.UNCHANGED, 9)


def test_a_row_of_before_takes_the_new_form_with_its_next_change(company: Company) -> None:
    world = company.connect(world=World([person(0, name=""), person(1)]))
    company.sync()
    store_as_before(company, "u-0000", "", '{"team":"blue"}')
    world.records[0] = person(0, name="", email="new@example.com")
    outcome = company.sync(sync_id="s2")
    assert (outcome.status, outcome.counts.updates) == (Status.APPLIED, 1)
    assert company.users() == expected(
        [person(0, name=None, email="new@example.com"), world.records[1]]
    )


def test_a_real_change_of_such_a_row_is_still_one(company: Company) -> None:
    world = company.connect(world=World([person(0, team={"b": 1, "a": ""})]))
    company.sync()
    store_as_before(company, "u-0000", "Person 0", '{"team":{"b":1,"a":""}}')
    world.records[0] = person(0, team={"a": None, "b": 1})
    assert company.sync(sync_id="s2").counts.updates == 1


def test_an_order_that_means_nothing_is_no_change(company: Company) -> None:
    company.fields = company.fields | {"team": Unordered(Path(("team",)))}
    world = company.connect(world=World([person(0, team=["b", {"x": 1, "a": 2}, "a"])]))
    company.sync()
    world.records[0] = person(0, team=[{"a": 2, "x": 1}, "a", "b"])
    assert company.sync(sync_id="s2").status is Status.UNCHANGED
    world.records[0] = person(0, team=["a", "b"])
    assert company.sync(sync_id="s3").counts.updates == 1


def test_an_order_means_something_unless_the_configuration_says_so(company: Company) -> None:
    world = company.connect(world=World([person(0, team=["b", "a"])]))
    company.sync()
    world.records[0] = person(0, team=["a", "b"])
    assert company.sync(sync_id="s2").counts.updates == 1
