"""Load YAML and JSON that a person or a tenant wrote, with limits on size, depth and aliases.

Aliases that refer to lists of aliases can make a document of a kilobyte stand for a billion values.
A key that occurs twice is refused, because a reader and the loader may take different values.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

import yaml

from elt_assets.errors import InvalidInput

LONGEST = 2**20
"""The most characters of one document."""
DEEPEST = 50
"""The deepest nesting of lists and objects."""
_LONGEST_NUMBER = 1_000
MOST = 50_000
"""The most values of one document, including those that aliases repeat."""


def load(text: str, name: str) -> Any:
    """Return the document's value. Raises `InvalidInput` with `name` and the mistake's place."""
    if len(text) > LONGEST:
        raise InvalidInput(
            f"{name} has {len(text):,} characters; the most that a document may have is {LONGEST:,}"
        )
    # JSON is tried first: YAML does not accept the tabs with which JSON may be indented.
    if text.lstrip().startswith("{"):
        try:
            found = json.loads(text, object_pairs_hook=_without_repetition)
            _check(found, name)
            return found
        except _Repeated as error:
            raise InvalidInput(f"{name}: key {error} stands twice in one object") from None
        except json.JSONDecodeError:
            pass  # a YAML mapping may begin with a brace too
        except RecursionError:
            raise _too_deep(name) from None
        except ValueError as error:
            raise InvalidInput(f"{name}: a value cannot be read ({error})") from None
    try:
        loader = _Loader(text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise InvalidInput(f"{name}{place}: not YAML or JSON ({error.problem})") from None
    except yaml.YAMLError:
        raise InvalidInput(f"{name}: not YAML or JSON (unprintable characters)") from None
    except RecursionError:
        raise _too_deep(name) from None
    except ValueError as error:
        raise InvalidInput(f"{name}: a value cannot be read ({error})") from None


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, which checks the limits before it builds any object."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose one value, and count it together with all values inside it."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        mark = event.start_mark
        self._depth += 1
        if self._depth > DEEPEST:
            _refuse(f"nested too deeply to be provider_data (more than {DEEPEST} deep)", mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is None:
            raise AssertionError("an event without a node")
        if id(node) not in self._sizes:
            if isinstance(event, yaml.AliasEvent):
                _refuse(f"*{event.anchor} refers to what it is a part of", mark)
            self._sizes[id(node)] = 1 + sum(self._sizes[id(each)] for each in _parts(node))
        if self._sizes[id(node)] > MOST:
            _refuse(f"more than {MOST:,} values, those that aliases repeat included", mark)
        if isinstance(node, yaml.MappingNode):
            _refuse_repetition(node)
        is_text = node.tag == "tag:yaml.org,2002:str"
        if isinstance(node, yaml.ScalarNode) and not is_text and len(node.value) > _LONGEST_NUMBER:
            # The time to parse a number or date grows with the square of its length.
            _refuse(f"a number or date of more than {_LONGEST_NUMBER} characters", mark)
        return node


class _Repeated(Exception):
    """A key that occurs twice; the exception's text is the key."""


def _parts(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        return list(node.value)
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return []


def _refuse_repetition(node: yaml.MappingNode) -> None:
    seen = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            if key.value in seen:
                _refuse(f"key {key.value!r} stands twice in one object", key.start_mark)
            seen.add(key.value)


def _refuse(problem: str, mark: Any) -> NoReturn:
    raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _Repeated(repr(next(name for name in names if names.count(name) > 1)))
    return found


def _check(value: Any, name: str, depth: int = 1) -> None:
    if depth > DEEPEST:
        raise _too_deep(name)
    members = value.values() if isinstance(value, dict) else value
    if isinstance(value, dict | list):
        for member in members:
            _check(member, name, depth + 1)


def _too_deep(name: str) -> InvalidInput:
    return InvalidInput(f"{name}: nested too deeply to be provider_data (more than {DEEPEST} deep)")
