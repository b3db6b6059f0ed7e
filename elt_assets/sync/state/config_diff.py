"""What changed in an integration's configuration, without what might be secret or personal.

Paths are always shown. Values are shown only if they are numbers, booleans or null, or belong to
fields that name a place, such as a host or a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

_PLACES = frozenset({"api_endpoint", "host", "database", "path", "type", "tls", "env", "file"})
_ABSENT = object()
_LOGIN = re.compile(r"(?<=://)[^/]*@")
_OPTIONS = re.compile(r"[?#].*", re.DOTALL)


def changed_paths(before: Any, after: Any) -> list[dict[str, Any]]:
    """Each path that differs, in order: `path`, `before` and `after`; a hidden value is "…"."""
    return [
        {
            "path": path,
            **({} if old is _ABSENT else {"before": _shown(path, old)}),
            **({} if new is _ABSENT else {"after": _shown(path, new)}),
        }
        for path, old, new in _changes("", before, after)
    ]


def _changes(path: str, before: Any, after: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, dict) and isinstance(after, dict):
        for name in sorted({*before, *after}):
            deeper = f"{path}.{name}" if path else str(name)
            yield from _changes(deeper, before.get(name, _ABSENT), after.get(name, _ABSENT))
    elif before is _ABSENT or after is _ABSENT or before != after:
        yield path, before, after


def _shown(path: str, value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str) and path.rpartition(".")[2] in _PLACES:
        # Without the login before the host and the query after the path: both may hold a secret.
        return _LOGIN.sub("", _OPTIONS.sub("", value))
    return "…"
