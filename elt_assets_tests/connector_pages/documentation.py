"""Generate docs/connectors.md and the pages in docs/connectors from the models of provider_data.

The tables come from JSON Schemas and presets, so that the documents match the code. The prose is
in `prose/`, one file for each page; descriptions of fields are in the models and facts about
providers in the presets.

    python -m elt_assets_tests.connector_pages.documentation docs/connectors.md
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from elt_assets.connectors import catalog
from elt_assets.connectors.presets.preset import Preset, presets

_PROSE = Path(__file__).with_name("prose")
VERDICTS = Path(__file__).with_name("conformance.json")
_FIRST = "connectors.md"
_APART = "rest"
"""The provider whose fields have a page of their own."""
_SHARED = "reference.md"
"""The page that describes the parts that several providers share."""
_SIGNS = {"passed": "✓", "warned": "!", "failed": "**failed**", "not applicable": "–"}


Schema = dict[str, Any]


def pages() -> dict[str, str]:
    """Return the text of every page by its path, relative to the folder of the first page."""
    schemas = {name: catalog.schema(name) for name in catalog.providers() if name not in presets()}
    shared = _shared(schemas.values())
    made = {
        "verdicts": [_verdicts()],
        "reference rest": list(_model(_APART, schemas.pop(_APART), shared, _SHARED)),
        "reference others": [
            part for name, schema in schemas.items() for part in _model(name, schema, shared, "")
        ],
        "shared": [
            part for name in sorted(shared) for part in _part(name, shared[name], shared, {})
        ],
    }
    for kind in {preset.kind for preset in presets().values()}:
        of_kind = [(name, one) for name, one in presets().items() if one.kind == kind]
        made[f"presets {kind}"] = [part for name, one in of_kind for part in _preset(name, one)]
    return {
        file.name if file.name == _FIRST else f"connectors/{file.name}": _filled(file, made)
        for file in sorted(_PROSE.glob("*.md"))
    }


def write(first: Path) -> None:
    """Write every page: the first page to the path `first`, the others below its folder."""
    for name, text in pages().items():
        path = first.parent / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _filled(file: Path, made: dict[str, list[str]]) -> str:
    text = file.read_text(encoding="utf-8")
    for name, parts in made.items():
        whole = "\n".join(part.strip("\n") + "\n" for part in parts)
        text = text.replace(f"[{name}]\n", whole, 1)
    return text


def _preset(name: str, preset: Preset) -> Iterator[str]:
    yield f"## {preset.title} (`{name}`)"
    yield f"{preset.about.strip()} [Documentation]({preset.documentation})"
    example = yaml.safe_dump(preset.example, sort_keys=False, default_flow_style=False)
    yield f"```yaml\n{example}```"
    rows = []
    for asked, ask in preset.asks.items():
        kind = "secret" if ask.secret else "text"
        default = (
            "required" if preset.required(asked) else f"`{ask.default}`" if ask.default else ""
        )
        rows.append((f"`{asked}`", kind, default, ask.description))
    offered = ", ".join(preset.rest["streams"])
    if preset.streams_need:
        about = f"What to read: {offered}. {preset.streams_need.strip()}"
        rows.append(("`streams`", "list", "`[users]`", about))
    yield _table(("field", "type", "default", "meaning"), rows)
    if preset.limits:
        yield "**What it cannot do, and what to know:**"
        yield "\n".join(f"- {limit.strip()}" for limit in preset.limits)
    sources = ", ".join(f"[{place}]({at})" for place, at in enumerate(preset.sources, 1))
    yield f"Checked against the provider's documentation on {preset.checked}: {sources}."


def verdicts() -> dict[str, dict[str, dict[str, str]]]:
    """The recorded results of the conformance checks: preset, stream, check, verdict."""
    found: dict[str, dict[str, dict[str, str]]] = json.loads(VERDICTS.read_text("utf-8"))
    return found


def _verdicts() -> str:
    """A table with the presets' streams as rows and the connector checks as columns."""
    found = verdicts()
    checks = list(found["okta"]["users"])
    rows = [
        (f"`{name}`", f"`{stream}`", *(_SIGNS.get(came_to[check], "?") for check in checks))
        for name, streams in sorted(found.items())
        for stream, came_to in streams.items()
    ]
    return _table(("preset", "stream", *checks), rows)


def _shared(schemas: Iterable[Schema]) -> dict[str, Schema]:
    """The parts that more than one of the schemas has."""
    found: dict[str, list[Schema]] = {}
    for schema in schemas:
        for name, part in schema.get("$defs", {}).items():
            found.setdefault(name, []).append(part)
    return {name: parts[0] for name, parts in found.items() if len(parts) > 1}


def _model(name: str, schema: Schema, shared: dict[str, Schema], at: str) -> Iterator[str]:
    """The tables of a provider; the `shared` parts are on the page `at`."""
    yield f"## `provider: {name}`"
    if about := schema.get("description"):
        yield about
    parts = schema.get("$defs", {})
    elsewhere = dict.fromkeys(shared, at)
    yield _fields(schema, parts, elsewhere)
    for part, described in parts.items():
        if part not in shared:
            yield from _part(part, described, parts, elsewhere)


def _part(
    name: str, part: Schema, parts: dict[str, Schema], elsewhere: dict[str, str]
) -> Iterator[str]:
    if "properties" not in part:
        return
    kind = _kind(part)
    yield f"### {name}" if kind is None else f"### {name}: `type: {kind}`"
    if about := part.get("description"):
        yield about
    yield _fields(part, parts, elsewhere)


def _kind(part: Schema) -> str | None:
    """The constant of a part's field `type`, or None for a part that has no alternatives."""
    kind = part.get("properties", {}).get("type", {}).get("const")
    return None if kind is None else str(kind)


def _fields(schema: Schema, parts: dict[str, Schema], elsewhere: dict[str, str]) -> str:
    required = schema.get("required", ())
    rows = []
    for name, field in schema["properties"].items():
        default = "required" if name in required else _default(field)
        kind = _type(field, parts, elsewhere)
        rows.append((f"`{name}`", kind, default, field.get("description", "")))
    return _table(("field", "type", "default", "meaning"), rows)


def _default(field: Schema) -> str:
    default = field.get("default")
    if default in (None, "", [], {}):
        return ""
    return f"`{yaml.safe_dump(default, default_flow_style=True).splitlines()[0]}`"


def _type(field: Schema, parts: dict[str, Schema], elsewhere: dict[str, str]) -> str:
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return " or ".join(f"`{value}`" for value in field["enum"])
    if "$ref" in field:
        name = str(field["$ref"].rsplit("/", 1)[-1])
        part = parts.get(name, {})
        kind = _kind(part)
        shown = name if kind is None else f"`{kind}`"
        return f"[{shown}]({elsewhere.get(name, '')}#{_anchor(name, part)})"
    for several in ("anyOf", "oneOf"):
        if several in field:
            kinds = [
                _type(one, parts, elsewhere) for one in field[several] if one.get("type") != "null"
            ]
            return " or ".join(dict.fromkeys(kinds))
    form = field.get("type")
    if form == "array":
        return f"list of {_type(field.get('items', {}), parts, elsewhere)}"
    if form == "object":
        inner = field.get("additionalProperties")
        return f"map to {_type(inner, parts, elsewhere)}" if isinstance(inner, dict) else "map"
    names = {"string": "text", "integer": "whole number", "boolean": "true or false"}
    return names.get(str(form), str(form or "anything"))


def _anchor(name: str, part: Schema) -> str:
    """The anchor of a part's heading, by the rules of GitHub."""
    kind = _kind(part)
    return name.lower() if kind is None else f"{name.lower()}-type-{kind}"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |"
        for line in lines
    )


if __name__ == "__main__":
    write(Path(sys.argv[1]))
