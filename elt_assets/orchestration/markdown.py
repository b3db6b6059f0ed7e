"""Lists and tables in Markdown for Dagster's pages, with text from providers made inert."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import dagster as dg

from elt_assets.errors.foreign_text import markdown


class Link(str):
    """The Markdown of a link: a text that is not escaped again."""

    __slots__ = ()

    @classmethod
    def to(cls, text: str, address: str) -> Link:
        """A link with an escaped text."""
        return cls(f"[{markdown(text)}]({address})")


def bullets(lines: Iterable[str], most: int | None = None, none: str = "") -> str:
    """A list of at most `most` lines, and how many more there are; `none` for no lines."""
    every = [f"- {markdown(line)}" for line in lines]
    shown = every if most is None else every[:most]
    if len(every) > len(shown):
        shown.append(f"- … and {len(every) - len(shown)} more")
    return "\n".join(shown) or none


def bullet_list(
    lines: Iterable[str], most: int | None = None, none: str = "none"
) -> dg.MarkdownMetadataValue:
    """`bullets` as metadata of an event."""
    return dg.MetadataValue.md(bullets(lines, most, none))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; empty without rows."""
    lines = [" | ".join(map(_cell, row)) for row in rows]
    if not lines:
        return ""
    head = (" | ".join(columns), " | ".join("---" for _ in columns))
    return "\n".join(f"| {line} |" for line in (*head, *lines))


def named(what: str, error: str | None) -> str:
    """Return the error, with `what` in front unless the error already begins with it."""
    text = error or "failed without a reason"
    return text if text.startswith(what) else f"{what}: {text}"


def _cell(value: object) -> str:
    if isinstance(value, Link):
        return value
    if isinstance(value, list | tuple):
        value = ", ".join(map(str, value))
    return markdown(str(value))
