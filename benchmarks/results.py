"""Minimum and median of repeated measurements, and the JSON and Markdown files of results.

Each benchmark lays out its own table.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any


def summary(seconds: Iterable[float]) -> dict[str, Any]:
    """Return every repetition, the minimum and the median."""
    runs = [round(one, 4) for one in seconds]
    return {"runs": runs, "minimum": min(runs), "median": round(median(runs), 4)}


def write(folder: Path, name: str, document: dict[str, Any], markdown: str) -> list[Path]:
    """Write `name`.json and `name`.md; both are replaced as a whole."""
    folder.mkdir(parents=True, exist_ok=True)
    found = [folder / f"{name}.json", folder / f"{name}.md"]
    for path, text in zip(found, (json.dumps(document, indent=2) + "\n", markdown), strict=True):
        fresh = path.with_suffix(path.suffix + ".new")
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(path)
    return found


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; all columns but the first are figures."""
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *rows)) + "\n"
