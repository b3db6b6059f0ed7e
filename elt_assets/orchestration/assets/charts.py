"""Bar charts as PNG, for pages that show Markdown.

Matplotlib is imported when a chart is drawn: it takes longer than all other imports.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from io import BytesIO

_INK = "#43436b"
_COLOURS = ("#4f8f6b", "#5b7bd5", "#c75d5d", "#d6a24b")
_DPI = 80


def bars(title: str, counts: Mapping[str, int]) -> bytes:
    """A vertical bar for each label."""
    return stacked(title, list(counts), {"": list(counts.values())})


def stacked(title: str, labels: Sequence[str], parts: Mapping[str, Sequence[int]]) -> bytes:
    """Vertical bars stacked from `parts`, each with a number for every label."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(9, 2.8), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    below = [0] * len(labels)
    for colour, (name, numbers) in zip(_COLOURS, parts.items(), strict=False):
        drawn = axes.bar(labels, numbers, bottom=below, label=name, color=colour)
        if len(parts) == 1:
            axes.bar_label(drawn, fontsize=8, color=_INK)
        below = [under + number for under, number in zip(below, numbers, strict=True)]
    axes.set_title(title, loc="left", fontsize=10, color=_INK)
    axes.tick_params(labelsize=8, colors=_INK)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    if len(parts) > 1:
        axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    if len(labels) > 10:
        axes.tick_params(axis="x", rotation=60)
    picture = BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()


def data_uri(picture: bytes) -> str:
    """The picture as a data URI."""
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"
