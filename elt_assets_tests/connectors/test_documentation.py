"""docs/connectors.md says what the models say, and its examples are ones that work."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent

import pytest
import yaml

from elt_assets.connectors import catalog
from elt_assets.connectors.documentation import document
from elt_assets.connectors.mapping.expressions import parse

DOCUMENT = Path(__file__).parents[2] / "docs" / "connectors.md"
TEXT = document()
YAML = [
    yaml.safe_load(dedent(block)) for block in re.findall(r"(?ms)^ *```yaml\n(.*?)^ *```", TEXT)
]


def test_the_document_is_current() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == TEXT, (
        "run: python -m elt_assets.connectors.documentation docs/connectors.md"
    )


def test_every_provider_is_in_it() -> None:
    for name in catalog.providers():
        assert f"(`{name}`)" in TEXT or f"`provider: {name}`" in TEXT


@pytest.mark.parametrize("example", YAML, ids=range(len(YAML)))
def test_every_example_is_accepted_by_a_provider(example: dict[str, object]) -> None:
    accepted = []
    for name in catalog.providers():
        try:
            catalog.validate(name, example)
        except catalog.InvalidInput:
            continue
        accepted.append(name)
    assert accepted


def test_every_pagination_of_the_table_is_accepted() -> None:
    shown = shown_types("**How does it go on?**")
    assert len(shown) == 9
    for pagination in shown:
        catalog.validate("rest", rest(pagination))


def test_every_auth_of_the_table_is_accepted() -> None:
    shown = shown_types("**Who asks?**")
    assert len(shown) == 5
    for auth in shown:
        catalog.validate("rest", rest({"type": "none"}) | {"auth": auth})


def test_every_part_that_a_table_links_to_is_there() -> None:
    headings = {
        re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-")
        for heading in re.findall(r"(?m)^#+ (.*)$", TEXT)
    }
    links = set(re.findall(r"\]\(#(.*?)\)", TEXT))
    assert len(links) > 20
    assert links <= headings


def shown_types(title: str) -> list[dict[str, object]]:
    """What the table under `title` shows as `{type: …}`."""
    table = TEXT.partition(title)[2].partition("\n\n|")[2].partition("\n\n")[0]
    return [yaml.safe_load(text) for text in re.findall(r"\| `(\{type: .*?\})`", table)]


def rest(pagination: dict[str, object]) -> dict[str, object]:
    """The smallest configuration that pages so."""
    return {
        "api_endpoint": "https://api.example",
        "streams": {
            "users": {
                "path": "/users",
                "records": "items",
                "pagination": pagination,
                "fields": {"external_id": "id"},
            }
        },
    }


def test_every_expression_of_the_table_can_be_read() -> None:
    table = TEXT.partition("## Expressions")[2].partition("\n\nA comparison")[0]
    shown = [
        text.replace("\\|", "|")
        for row in re.findall(r"(?m)^\| (`.*?) \| [a-z]", table)
        for text in re.findall(r"`(.*?)`", row)
    ]
    assert len(shown) == 16
    for text in shown:
        parse(text)
