"""The pages about connectors say what the models say, and their examples are ones that work."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from textwrap import dedent

import pytest
import yaml

from elt_assets.connectors import catalog
from elt_assets.connectors.mapping.expression_parser import parse
from elt_assets_tests.connector_pages.documentation import pages

DOCS = Path(__file__).parents[2] / "docs"
PAGES = pages()
TEXT = "\n".join(PAGES.values())
LONGEST = 600
"""Lines of a page that is still read as one."""
YAML = [
    yaml.safe_load(dedent(block)) for block in re.findall(r"(?ms)^ *```yaml\n(.*?)^ *```", TEXT)
]


def test_the_pages_are_current() -> None:
    found = [DOCS / "connectors.md", *sorted((DOCS / "connectors").iterdir())]
    assert {
        path.relative_to(DOCS).as_posix(): path.read_text("utf-8") for path in found
    } == PAGES, "run: python -m elt_assets_tests.connector_pages.documentation docs/connectors.md"


def test_no_page_is_too_long_to_be_read() -> None:
    assert {name: len(text.splitlines()) for name, text in PAGES.items()} == {
        name: min(len(text.splitlines()), LONGEST) for name, text in PAGES.items()
    }


def test_every_page_is_linked_from_the_first_or_is_a_step_from_it() -> None:
    linked = set(re.findall(r"\]\((connectors/[\w-]+\.md)", PAGES["connectors.md"]))
    assert linked == set(PAGES) - {"connectors.md"}


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
    shown = shown_types("## Pagination")
    assert len(shown) == 9
    for pagination in shown:
        catalog.validate("rest", rest(pagination))


def test_every_auth_of_the_table_is_accepted() -> None:
    shown = shown_types("## Authentication")
    assert len(shown) == 5
    for auth in shown:
        catalog.validate("rest", rest({"type": "none"}) | {"auth": auth})


def test_everything_that_a_page_links_to_is_there() -> None:
    links = 0
    for name, text in PAGES.items():
        for target, anchor in re.findall(r"\]\(((?:[\w/-]+\.md)?)(?:#([\w-]*))?\)", text):
            page = posixpath.join(posixpath.dirname(name), target) if target else name
            assert page in PAGES, f"{name}: {target}"
            assert not anchor or anchor in headings(PAGES[page]), f"{name}: {target}#{anchor}"
            links += 1
    assert links > 40


def headings(text: str) -> set[str]:
    """How the headings of a page are linked to, by the rules of GitHub."""
    return {
        re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-")
        for heading in re.findall(r"(?m)^#+ (.*)$", text)
    }


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
