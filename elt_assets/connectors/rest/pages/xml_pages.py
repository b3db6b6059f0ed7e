"""Convert pages in XML to JSON, in which the records of a listing are read.

An element with only text becomes that text. Any other element becomes an object: `@name` is an
attribute, `$` the text, and each other name the element or elements inside. Document types and
entities are refused.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import ParseError, XMLParser
from pydantic import AfterValidator, Field

from elt_assets.connectors.provider_fields import Strict
from elt_assets.connectors.rest.page_dialect import PageDialect
from elt_assets.errors import PageUnreadable

_MOST_ELEMENTS = 500_000
"""Most elements and attributes of a page: four bytes of XML are enough to make a Python object."""
_LONGEST_TAG = re.compile(rb"<[^>]{1048576}")
"""A tag that is too long: the parser makes objects of its attributes before they are counted."""
_PIECES = 64
"""Pieces of a text that are joined at once: the parser delivers each line as a piece."""
_DEEPEST = 64
_NAME = re.compile(r"[^\W\d][\w.-]*")


def _element(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not an element's name without its prefix")
    return name


class XmlPages(Strict):
    """Pages are XML. Prefixes of names are left out: `ns:user` is `user`.

    An element with only text is that text, any other an object: `@id` is an attribute, `$` the
    text.
    """

    lists: list[Annotated[str, AfterValidator(_element)]] = Field(
        [],
        max_length=32,
        description="Elements that are lists even if they occur only once, e.g. email. The "
        "elements at records are always a list.",
    )


class XmlDialect(PageDialect):
    """The dialect of pages in XML, whose list is at `records`."""

    def __init__(self, described: XmlPages, records: tuple[str, ...]) -> None:
        self._lists = frozenset(described.lists)
        self._records = records

    def body(self, body: bytes) -> bytes:
        """The page as JSON. Raises `PageUnreadable`."""
        if _LONGEST_TAG.search(body):
            raise PageUnreadable("the answer has a tag of more than 1,048,576 bytes")
        target = _Target(self._lists, self._records)
        parser = XMLParser(target=target, forbid_dtd=True)
        try:
            parser.feed(body)
            parser.close()
        except DefusedXmlException:
            raise PageUnreadable(
                "the answer has a document type or entities, which are never read"
            ) from None
        except (ParseError, ValueError, LookupError) as error:
            line = getattr(error, "position", (0, 0))[0]
            where = f" (line {line})" if line else ""
            raise PageUnreadable(f"the answer is not XML{where}") from None
        return msgspec.json.encode(target.document)


class _Target:
    """Makes objects from the parser's events, without a tree of elements."""

    def __init__(self, lists: frozenset[str], records: tuple[str, ...]) -> None:
        self.document: dict[str, Any] = {}
        self._lists = lists
        self._records = records
        self._open: list[tuple[str, dict[str, Any], _Text]] = []
        self._elements = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._elements += 1 + len(attributes)
        if self._elements > _MOST_ELEMENTS:
            raise PageUnreadable(
                f"the answer has more than {_MOST_ELEMENTS:,} elements and attributes; ask for "
                "smaller pages"
            )
        if len(self._open) >= _DEEPEST:
            raise PageUnreadable(f"the answer is nested more than {_DEEPEST} levels deep")
        found = {f"@{_local(key)}": value for key, value in attributes.items()}
        self._open.append((_local(name), found, _Text()))

    def data(self, text: str) -> None:
        if self._open:
            self._open[-1][2].add(text)

    def end(self, _: str) -> None:
        name, found, held = self._open.pop()
        path = (*(one[0] for one in self._open), name)
        if path == self._records[:-1]:
            # Without any record, the list is empty and not missing.
            found.setdefault(self._records[-1], [])
        text = held.whole.strip()
        value: Any = found
        if not found:
            value = text or None
        elif text:
            found["$"] = text
        holder = self._open[-1][1] if self._open else self.document
        if name in self._lists or path == self._records or name in holder:
            before = holder.get(name, [])
            members = before if isinstance(before, list) else [before]
            members.append(value)
            holder[name] = members
        else:
            holder[name] = value

    def close(self) -> None:
        """Do nothing; the parser calls this at the end."""


class _Text:
    """Collects a text that arrives in pieces, most of them short."""

    __slots__ = ("_joined", "_pieces")

    def __init__(self) -> None:
        self._joined: list[str] | None = None
        self._pieces: list[str] | None = None

    def add(self, piece: str) -> None:
        if self._pieces is None:
            self._pieces = []
        self._pieces.append(piece)
        if len(self._pieces) == _PIECES:
            if self._joined is None:
                self._joined = []
            self._joined.append("".join(self._pieces))
            self._pieces.clear()

    @property
    def whole(self) -> str:
        return "".join((*(self._joined or ()), *(self._pieces or ())))


def _local(name: str) -> str:
    return name.rpartition("}")[2]
