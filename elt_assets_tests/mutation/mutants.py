"""Mutants: a module's text with one comparison, one boolean or one number changed, SQL included.

Running tests against a mutant is in `running`; which mutants are equivalent, in `equivalent`.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

COMPARISONS = {
    "==": "!=",
    "!=": "==",
    "<": "<=",
    "<=": "<",
    ">": ">=",
    ">=": ">",
    "is": "is not",
    "is not": "is",
    "in": "not in",
    "not in": "in",
}

# In this order: the first that fits at a place is taken.
SQL = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\bIS NOT DISTINCT FROM\b", "IS DISTINCT FROM"),
        (r"\bIS DISTINCT FROM\b", "IS NOT DISTINCT FROM"),
        (r"\bIS NOT NULL\b", "IS NULL"),
        (r"\bIS NULL\b", "IS NOT NULL"),
        (r"\bNOT IN\b", "IN"),
        (r"\bIN \(", "NOT IN ("),
        (r"\bNOT EXISTS\b", "EXISTS"),
        (r"\bEXISTS\b", "NOT EXISTS"),
        (r"\bNOT ", ""),
        (r"\bAND\b", "OR"),
        (r"\bOR\b(?! REPLACE)", "AND"),
        (r"\b(?:LEFT|FULL) JOIN\b", "JOIN"),
        (r"\bDESC\b", "ASC"),
        (r"\bNULLS LAST\b", "NULLS FIRST"),
        (r"\bUNION ALL\b", "EXCEPT ALL"),
        (r"\bDISTINCT (?=\w)", ""),
        (r"\btrue\b", "false"),
        (r"\bfalse\b", "true"),
        (r"\bmax\(", "min("),
        (r"\bmin\(", "max("),
        (r"<>", "="),
        (r"<=", "<"),
        (r"(?<!-)>=", ">"),
        (r"<", "<="),
        (r"(?<![->])>(?!>)", ">="),
        (r"=", "<>"),
    )
]
_IS_SQL = re.compile(r"\b(?:SELECT|WHERE|CASE|JOIN|FILTER|IS NULL|NOT IN|QUALIFY)\b|<>|[=<>] [$']")
_NOT_SQL = re.compile(r"\{[^{}]*\}|--[^\n]*")


@dataclass(frozen=True, slots=True, order=True)
class Mutant:
    """One change of a module's text, at `start` to `end`.

    `nth` tells apart equal changes of equal lines; with `line`, which is the whole line without
    its indentation, it names the mutant although other lines of the module move.
    """

    start: int
    end: int
    number: int
    line: str
    before: str
    after: str
    nth: int = 1

    @property
    def name(self) -> tuple[str, str, str, int]:
        """What identifies it in a list."""
        return self.line, self.before, self.after, self.nth

    def applied(self, text: str) -> str:
        """The mutated module."""
        return text[: self.start] + self.after + text[self.end :]


def mutants(text: str) -> list[Mutant]:
    """Every mutant of a module that still compiles, in the order of its text."""
    finder = _Finder(text)
    counted: Counter[tuple[str, str, str]] = Counter()
    found = []
    for start, end, after in sorted(set(finder.changes(ast.parse(text)))):
        begin = text.rfind("\n", 0, start) + 1
        line = text[begin : text.find("\n", start)].strip()
        before = text[start:end]
        counted[line, before, after] += 1
        nth = counted[line, before, after]
        number = text.count("\n", 0, start) + 1
        mutant = Mutant(start, end, number, line, before, after, nth)
        if _compiles(mutant.applied(text)):
            found.append(mutant)
    return found


Change = tuple[int, int, str]


class _Finder:
    def __init__(self, text: str) -> None:
        self._text = text
        self._lines = [0]
        for line in text.splitlines(keepends=True):
            self._lines.append(self._lines[-1] + len(line))

    def changes(self, tree: ast.AST) -> Iterator[Change]:
        """Changes of everything below a node."""
        decorators = getattr(tree, "decorator_list", [])
        for child in ast.iter_child_nodes(tree):
            docstring = isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)
            if docstring or child in decorators:
                continue
            match child:
                case ast.JoinedStr() | ast.Constant(value=str()):
                    yield from self._of_sql(child)
                    continue
                case ast.Compare():
                    yield from self._of_comparison(child)
                case ast.BoolOp():
                    yield from self._of_connective(child)
                case ast.UnaryOp(op=ast.Not()):
                    yield (*self._place(child), self._source(child.operand))
                case ast.Constant(value=bool()):
                    yield (*self._place(child), str(not child.value))
                case ast.Call(func=ast.Name(id="min" | "max")):
                    other = "max" if child.func.id == "min" else "min"
                    yield (*self._place(child.func), other)
                case ast.Assign(value=ast.Constant(value=int())) if isinstance(tree, ast.Module):
                    yield from self._of_number(child.value)
            yield from self._of_condition(child)
            yield from self.changes(child)

    def _of_comparison(self, node: ast.Compare) -> Iterator[Change]:
        left = node.left
        for right in node.comparators:
            begin, end = self._place(left)[1], self._place(right)[0]
            between = self._text[begin:end]
            operator = re.search(r"[=!<>]+|is\s+not|not\s+in|is|in", between)
            if operator is not None:
                start = begin + operator.start()
                yield start, begin + operator.end(), COMPARISONS[" ".join(operator[0].split())]
            left = right
        for operand in (node.left, *node.comparators):
            yield from self._of_number(operand)

    def _of_number(self, node: ast.AST) -> Iterator[Change]:
        if isinstance(node, ast.Constant) and type(node.value) is int:
            yield (*self._place(node), str(node.value + 1))

    def _of_connective(self, node: ast.BoolOp) -> Iterator[Change]:
        for left, right in zip(node.values, node.values[1:], strict=False):
            begin, end = self._place(left)[1], self._place(right)[0]
            word = re.search(r"\b(and|or)\b", self._text[begin:end])
            if word is not None:
                start = begin + word.start()
                yield start, begin + word.end(), "or" if word[0] == "and" else "and"

    def _of_condition(self, node: ast.AST) -> Iterator[Change]:
        """A condition that is neither a comparison nor a connective, turned around."""
        conditions: list[ast.expr] = []
        if isinstance(node, ast.If | ast.IfExp | ast.While):
            conditions = [node.test]
        elif isinstance(node, ast.comprehension):
            conditions = node.ifs
        elif isinstance(node, ast.BoolOp):
            conditions = node.values
        for one in conditions:
            if isinstance(one, ast.Name | ast.Attribute | ast.Call | ast.NamedExpr):
                yield (*self._place(one), f"(not {self._source(one)})")

    def _of_sql(self, node: ast.expr) -> Iterator[Change]:
        begin, end = self._place(node)
        source = self._text[begin:end]
        # Masked by blanks, so that places stay what they are.
        text = _NOT_SQL.sub(lambda found: " " * len(found[0]), source)
        if not _IS_SQL.search(text):
            return
        place = 0
        while place < len(text):
            for pattern, replacement in SQL:
                if found := pattern.match(text, place):
                    yield begin + place, begin + found.end(), replacement
                    place = found.end()
                    break
            else:
                place += 1

    def _place(self, node: ast.expr) -> tuple[int, int]:
        return (
            self._offset(node.lineno, node.col_offset),
            self._offset(node.end_lineno or node.lineno, node.end_col_offset or 0),
        )

    def _offset(self, line: int, column: int) -> int:
        begin, end = self._lines[line - 1 : line + 1]
        return begin + len(self._text[begin:end].encode()[:column].decode())

    def _source(self, node: ast.expr) -> str:
        start, end = self._place(node)
        return self._text[start:end]


def _compiles(text: str) -> bool:
    try:
        compile(text, "<mutant>", "exec", dont_inherit=True)
    except SyntaxError:
        return False
    return True
