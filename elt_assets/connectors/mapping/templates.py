"""Names in braces, such as `{organization_id}`, in a path or parameter.

They are replaced when a source opens; `{from}` and `{to}` are replaced when a period is read.
Nothing is evaluated, and other braces stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from elt_assets.errors import InvalidInput

TEMPLATE_NAMES = ("organization_id", "integration_id")
PERIOD_NAMES = ("from", "to")
"""Beginning and end of the period, in streams that are read a period at a time."""

_NAME = re.compile(r"\{([a-z][a-z0-9_]*)\}", re.ASCII)


def placeholders(text: str, known: Collection[str]) -> set[str]:
    """The names in braces in `text`. Raises `InvalidInput` for one that is not `known`."""
    found = set(_NAME.findall(text))
    if unknown := sorted(found.difference(known)):
        raise InvalidInput(
            f"{{{unknown[0]}}} is not known here; there is "
            f"{', '.join(f'{{{name}}}' for name in sorted(known))}"
        )
    return found


def filled(text: str, values: Mapping[str, str]) -> str:
    """`text` with every name in braces that has a value replaced by it."""
    return _NAME.sub(lambda found: values.get(found[1], found[0]), text)


def emptied(text: str) -> str:
    """`text` without the names in braces that were not replaced."""
    return _NAME.sub("", text)
