"""The mutation check finds what a test file does not hold, in Python and in SQL."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from elt_assets_tests.mutation.__main__ import MODULES, ROOT, complaints, target
from elt_assets_tests.mutation.equivalent import EQUIVALENT
from elt_assets_tests.mutation.mutants import mutants

RULE = '''"""A rule."""
LIMIT = 3

def passes(deletes, complete):
    """Whether `deletes` == 2 pass."""
    if deletes == 0:
        return True
    return complete and deletes <= LIMIT
'''
TESTS = """import pytest
from judging.rule import passes

@pytest.mark.parametrize(
    ("deletes", "complete", "expected"),
    [(0, False, True), (1, False, False), (1, True, True), (4, True, False){more}],
)
def test_a_rule(deletes, complete, expected):
    assert passes(deletes, complete) is expected
"""
RUN = """
import json
from pathlib import Path
from elt_assets_tests.mutation.mutants import mutants
from elt_assets_tests.mutation.running import measured, preload, survivors
from elt_assets_tests.mutation.__main__ import target
one = target("judging/rule.py", Path.cwd())
preload(one, Path.cwd())
alive = survivors(one, mutants(one.path.read_text()), measured(one), 2)
print(json.dumps([f"{m.before} {m.after}" for m in alive]))
"""


def changed(text: str) -> list[str]:
    """Each mutant as what it changes and what into."""
    return [f"{mutant.before} → {mutant.after}" for mutant in mutants(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a < b", ["< → <="]),
        ("a is not None", ["is not → is"]),
        ("a not in b", ["not in → in"]),
        ("a > 0", ["> → >=", "0 → 1"]),
        ("a and not b or c", ["a → (not a)", "and → or", "not b → b", "or → and", "c → (not c)"]),
        ("x if y else z", ["y → (not y)"]),
        ("[a for a in b if c(a)]", ["c(a) → (not c(a))"]),
        ("a = max(b, True)", ["max → min", "True → False"]),
        ("LIMIT = 10", ["10 → 11"]),
        ("@d(frozen=True)\nclass A:\n    'a == b'\n", []),
        ("error = 'a > b and c'", []),
    ],
)
def test_each_comparison_and_boolean_is_changed(text: str, expected: list[str]) -> None:
    assert changed(text) == expected


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("WHERE a <> b", ["<> → ="]),
        ("WHERE a ->> '/b' IS NULL", ["IS NULL → IS NOT NULL"]),
        ("WHERE a >= $b AND NOT c", [">= → >", "AND → OR", "NOT  → "]),
        ("WHERE id NOT IN (SELECT 1)", ["NOT IN → IN"]),
        ("SELECT 1 -- where a = b\n", []),
        ("SELECT {a == b} WHERE x IS DISTINCT FROM y", ["IS DISTINCT FROM → IS NOT DISTINCT FROM"]),
        ("CREATE OR REPLACE TABLE t AS SELECT * FROM a LEFT JOIN b", ["LEFT JOIN → JOIN"]),
        ("ORDER BY a DESC NULLS LAST QUALIFY", ["DESC → ASC", "NULLS LAST → NULLS FIRST"]),
    ],
)
def test_sql_is_changed_and_its_comments_and_expressions_are_not(
    sql: str, expected: list[str]
) -> None:
    assert changed(f'f(f"""{sql}""")') == expected


def test_a_mutant_is_named_by_its_line_wherever_that_is() -> None:
    text = "if a == b == c:\n    pass\n"
    moved = f"\n\ndef f():\n    {text.replace(chr(10), chr(10) + '    ')}"
    assert [one.name for one in mutants(text)] == [one.name for one in mutants(moved)]
    assert len({one.name for one in mutants(text)}) == 2


@pytest.mark.campaign
@pytest.mark.parametrize(
    ("more", "expected"),
    [("", ["<= <"]), (", (3, True, True)", [])],
)
def test_what_no_test_notices_is_found_and_nothing_else(
    tmp_path: Path, more: str, expected: list[str]
) -> None:
    for folder, name, text in (
        ("judging", "rule", RULE),
        ("judging_tests", "test_rule", TESTS.replace("{more}", more)),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").touch()
        (tmp_path / folder / f"{name}.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        cwd=tmp_path,
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == expected


def test_a_survivor_needs_a_reason_and_a_reason_a_survivor() -> None:
    made = mutants("a > b\nc < d\n")
    known = {made[0].name: "why"}
    assert complaints([made[0]], made, known) == []
    assert complaints(made, made, known) == ["line 2: < → <= survives in: c < d"]
    (noticed,) = complaints([], made, known)
    assert "is noticed by a test" in noticed
    (strange,) = complaints([made[0]], made, known | {("x", "<", "<=", 1): "why"})
    assert "fits no mutant" in strange


def test_every_module_that_judges_has_a_test_file_of_its_own() -> None:
    assert set(EQUIVALENT) <= set(MODULES)
    for module in MODULES:
        assert target(module).path.is_file()
        assert target(module).tests.is_file()
