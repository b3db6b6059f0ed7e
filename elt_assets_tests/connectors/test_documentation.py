"""docs/connectors.md says what the models say, and its examples are ones that work."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent

import pytest
import yaml

from elt_assets.connectors import catalog
from elt_assets.connectors.documentation import document
from elt_assets.connectors.expressions import parse

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
    shown = re.findall(r"\| `(\{type: .*?\})`", TEXT)
    assert len(shown) == 8
    for text in shown:
        data = {
            "api_endpoint": "https://api.example",
            "streams": {
                "users": {
                    "path": "/users",
                    "records": "items",
                    "pagination": yaml.safe_load(text),
                    "fields": {"external_id": "id"},
                }
            },
        }
        catalog.validate("rest", data)


def test_every_expression_of_the_table_can_be_read() -> None:
    table = TEXT.partition("## Expressions")[2].partition("\n\n`external_id`")[0]
    shown = [
        text.replace("\\|", "|")
        for row in re.findall(r"(?m)^\| (`.*?) \| [a-z]", table)
        for text in re.findall(r"`(.*?)`", row)
    ]
    assert len(shown) == 8
    for text in shown:
        parse(text)
