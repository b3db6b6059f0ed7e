"""Figures end up in the document, and a campaign that missed something says so."""

from __future__ import annotations

import click
import pytest

from elt_assets_tests.campaign.__main__ import CAMPAIGNS, with_figures
from elt_assets_tests.campaign.figures import Figures
from elt_assets_tests.campaign.oracles import Violation
from elt_assets_tests.test_house import ROOT

DOCUMENT = "before\n<!-- figures: crash -->\nold\n<!-- end of figures -->\nafter\n"


def test_new_figures_take_the_place_of_the_old() -> None:
    document = with_figures(DOCUMENT, "crash", "300 kills")
    assert "old" not in document
    assert "300 kills" in document
    assert document.startswith("before\n")
    assert document.endswith("after\n")


def test_a_document_without_a_place_for_the_figures_is_refused() -> None:
    with pytest.raises(click.ClickException, match="chaos"):
        with_figures(DOCUMENT, "chaos", "")


def test_the_note_on_reliability_has_a_place_for_every_campaign() -> None:
    document = (ROOT / "docs" / "reliability.md").read_text("utf-8")
    for name in CAMPAIGNS:
        with_figures(document, name, "")


def test_what_was_found_and_what_never_happened_is_told() -> None:
    figures = Figures("crash", missing=["SIGTERM"])
    figures.judge("history 1", [Violation("lost", "acme:main", "u-1"), Violation("x", "p", "d")])
    text = "\n".join(figures.lines())
    assert "1  lost" in text
    assert "0  false delete" in text
    assert "1  other violations" in text
    assert "never happened: SIGTERM" in text
    assert figures.never_fired(["SIGTERM"]) == ["SIGTERM"]
