"""The prose linter: `python -m elt_assets_tests.prose` checks docs, docstrings and comments.

It runs proselint with rules of our own. CONTRIBUTING.md says how we write; a rule is added here
once the whole project follows it.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from proselint.checks import __register__ as PROSELINT
from proselint.config import Config
from proselint.registry import CheckRegistry
from proselint.registry.checks import Check
from proselint.registry.checks.types import PreferredFormsSimple
from proselint.tools import LintFile

ROOT = Path(__file__).parent.parent

PREFERRED = {
    "afresh": "again",
    "anew": "again",
    "beside": "next to, with",
    "let go of": "close, release",
    "lets go of": "closes, releases",
    "letting go of": "closing, releasing",
    "whoever": "the noun: the caller, the process, the user",
    "whomever": "the noun: the caller, the process, the user",
}
"""Words that we do not use, and what to write instead."""

LONGEST_SENTENCE = 40
"""Words. A sentence is better at 25."""

CHECKS: Config = {
    "max_errors": 1000,
    "checks": {
        "house": True,
        "malapropisms": True,
        "mondegreens": True,
        "needless_variants": True,
        "nonwords": True,
        "redundancy": True,
    },
}

_CODE = re.compile(r"```.*?```|``?[^`]+``?|<!--.*?-->|\]\([^)]*\)|https?://\S+", re.DOTALL)
_SENTENCE_END = re.compile(r"(?<=[.!?:;])\s|\n\s*\n|\n\s*(?:[-*#|>]|\d+\.)\s|\s\|\s")


class Found(NamedTuple):
    """One place that breaks a rule."""

    path: str
    line: int
    message: str


def complaints(path: str, first_line: int, text: str) -> Iterator[Found]:
    """What is wrong with a text that begins at `first_line` of `path`; code in it is skipped."""
    prose = _CODE.sub(lambda match: re.sub(r"\S", "·", match[0]), text)
    for result in LintFile(path, prose).lint(CHECKS):
        # proselint puts an empty line in front of the text.
        yield Found(path, first_line + result.pos[0] - 1, result.check_result.message)
    start = 0
    for end in [*(match.end() for match in _SENTENCE_END.finditer(prose)), len(prose)]:
        words = len(re.findall(r"\w[\w'’-]*", prose[start:end]))
        if words > LONGEST_SENTENCE:
            line = first_line + prose.count("\n", 0, start)
            yield Found(path, line, f"A sentence of {words} words. Split it.")
        start = end


def prose_of_python(source: str) -> Iterator[tuple[int, str]]:
    """Each docstring and block of comments with the number of its first line."""
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            yield node.lineno, node.value.value
    block: list[str] = []
    last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        if block and token.start[0] != last + 1:
            yield last - len(block) + 1, "\n".join(block)
            block = []
        block.append(token.string.lstrip("#! "))
        last = token.start[0]
    if block:
        yield last - len(block) + 1, "\n".join(block)


def files(root: Path) -> list[Path]:
    """Every page of documentation and every module of the package."""
    pages = [*root.glob("*.md"), *root.glob("docs/*.md"), *root.glob("deploy/*.md")]
    return [*sorted(pages), *sorted(root.glob("elt_assets/**/*.py"))]


def check(paths: Iterable[Path], root: Path = ROOT) -> list[Found]:
    """Every place in `paths` that breaks a rule."""
    found = []
    for path in paths:
        text = path.read_text("utf-8")
        parts = prose_of_python(text) if path.suffix == ".py" else [(1, text)]
        for line, prose in parts:
            found += complaints(str(path.relative_to(root)), line, prose)
    return sorted(found)


def main() -> int:
    """Print what is wrong, one line each."""
    found = check(files(ROOT))
    for place in found:
        print(f"{place.path}:{place.line}: {place.message}")
    return 1 if found else 0


CheckRegistry().register_many(
    (
        Check(
            check_type=PreferredFormsSimple(PREFERRED),
            path="house.words",
            message="'{1}': write {0}.",
        ),
        *PROSELINT,
    )
)

if __name__ == "__main__":
    sys.exit(main())
