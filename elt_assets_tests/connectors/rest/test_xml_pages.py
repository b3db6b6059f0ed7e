"""XML as the JSON that a listing is read from, and XML that is never read."""

from __future__ import annotations

import json

import pytest

from elt_assets.connectors.rest.pages.xml_pages import XmlDialect, XmlPages
from elt_assets.errors import PageUnreadable

DIALECT = XmlDialect(XmlPages(lists=["mail"]), ("all", "people", "person"))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("<all><people/></all>", {"people": {"person": []}}),
        (
            "<all><people><person>1</person></people><more/></all>",
            {"people": {"person": ["1"]}, "more": None},
        ),
        (
            '<n:all xmlns:n="urn:x"><n:people><n:person n:id="1">a&amp;b<n:mail>c</n:mail>'
            "</n:person></n:people></n:all>",
            {"people": {"person": [{"@id": "1", "$": "a&b", "mail": ["c"]}]}},
        ),
        ("<all><x><![CDATA[<y>]]></x><x>2</x></all>", {"x": ["<y>", "2"]}),
    ],
)
def test_elements_become_objects(text: str, found: object) -> None:
    assert json.loads(DIALECT.body(text.encode())) == {"all": found}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('<!DOCTYPE a [<!ENTITY e "f">]><a>&e;</a>', "a document type or entities"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>', "a document type or entities"),
        ("<a>&e;</a>", r"not XML \(line 1\)"),
        ("<all>\n<people>", r"not XML \(line 2\)"),
        ('{"all": []}', "not XML"),
        ('<?xml version="1.0" encoding="no-such"?><a/>', "not XML"),
        ("<a>" * 65 + "</a>" * 65, "nested more than 64 levels deep"),
        (f"<a>{'<b/>' * 500_000}</a>", "more than 500,000 elements and attributes"),
        ('<a><b c="" d=""/>' + '<b c="" d=""/>' * 170_000 + "</a>", "elements and attributes"),
        (f'<a b="{"c" * 1_048_576}"/>', "a tag of more than 1,048,576 bytes"),
    ],
)
def test_what_is_never_read_is_said(text: str, words: str) -> None:
    with pytest.raises(PageUnreadable, match=words):
        DIALECT.body(text.encode())


def test_a_text_of_many_lines_is_whole() -> None:
    text = "\n".join(f"line {number}" for number in range(1_000))
    assert json.loads(DIALECT.body(f"<a>{text}</a>".encode())) == {"a": text}
