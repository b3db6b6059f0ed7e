"""`demo --chaos`: processes that fail and die on purpose, and a result that is right."""

from __future__ import annotations

from collections import Counter

import pytest

from elt_assets.cli.commands.demo.chaos_sync import describe
from elt_assets_tests.cli.conftest import Process


@pytest.mark.campaign(50)  # some thirty processes, most of which crash
def test_the_demo_with_chaos_ends_equal_to_the_provider(elt_assets_process: Process) -> None:
    ended = elt_assets_process(
        *("demo", "--chaos", "--integrations", "1", "--users", "120", "--page-size", "2", "--json")
    )
    assert ended.status == 0, ended.err
    assert ended.document["equal"] is True
    assert sum(ended.document["survived"].values()) >= 3


def test_survived_faults_are_reported_in_words() -> None:
    survived = Counter({"page": 2, "after_commit": 30, "crash": 1})
    assert describe(survived) == (
        "Survived 2 failures of the provider, 30 failures after a committed write, "
        "1 crashed processes."
    )
    assert describe(Counter()) == "Survived nothing: no fault fired."
