"""What is used of Dagster and is not public: named in one module, and all of it there."""

from __future__ import annotations

import ast
import re
from importlib.metadata import version
from pathlib import Path

import pytest

from elt_assets.orchestration import dagster_internals
from elt_assets.orchestration.dagster_internals import CHECKED_ON, INTERNALS, Internal
from elt_assets_tests.test_house import PACKAGE, planted, program_text

PRIVATE = re.compile(r"\bdagster(?:_[a-z0-9]+)*\.(?:\w+\.)*_(?!_)\w+[\w.]*")
THE_DOOR = "orchestration/dagster_internals.py"


def private_names(folder: Path) -> list[str]:
    """The private modules of Dagster that files import, or name in a string, with their file."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.suffix not in (".py", ".yaml"):
            continue
        texts = list(program_text(path))
        if path.suffix == ".py":
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.ImportFrom):
                    texts += [f"{node.module}.{alias.name}" for alias in node.names]
                elif isinstance(node, ast.Import):
                    texts += [alias.name for alias in node.names]
        file = str(path.relative_to(folder))
        found += [f"{file}: {name}" for text in texts for name in PRIVATE.findall(text)]
    return found


def imported_from_the_door() -> set[str]:
    """The names that modules of the package import from the one that has them."""
    return {
        alias.name
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module == dagster_internals.__name__
        for alias in node.names
    }


def test_no_other_module_names_a_private_module_of_dagster() -> None:
    elsewhere = [line for line in private_names(PACKAGE) if not line.startswith(THE_DOOR)]
    assert elsewhere == [], f"name it in {THE_DOOR}, with the reason"


def test_a_planted_private_name_is_caught(tmp_path: Path) -> None:
    package = planted(
        tmp_path,
        direct__py="from dagster._core.events import EngineEventData\n",
        member__py="from dagster import _check\n",
        of_another__py="import dagster_celery._tasks\n",
        text__py='MODULE = "dagster._daemon"\n',
        file__yaml="module: dagster._core.launcher\n",
        public__py='from dagster import asset\nNAME = "dagster.core.launcher"\n',
        remark__py='"""Not dagster._core."""\n# nor dagster._serdes\n',
    )
    assert private_names(package) == [
        "direct.py: dagster._core.events.EngineEventData",
        "file.yaml: dagster._core.launcher",
        "member.py: dagster._check",
        "of_another.py: dagster_celery._tasks",
        "text.py: dagster._daemon",
    ]


def test_the_names_were_checked_on_the_dagster_that_is_installed() -> None:
    assert version("dagster") == CHECKED_ON, (
        f"Dagster moved from {CHECKED_ON} to {version('dagster')}. Look up whether these still do "
        f"what {THE_DOOR} needs, then set CHECKED_ON: {', '.join(INTERNALS)}"
    )


@pytest.mark.parametrize("name", INTERNALS)
def test_dagster_has_the_name(name: str) -> None:
    getattr(dagster_internals, name)


def test_every_name_is_used_and_every_reason_is_given() -> None:
    assert imported_from_the_door() == {*INTERNALS, "DAEMON"}
    assert [name for name, internal in INTERNALS.items() if len(internal.why) < 20] == []


def test_a_name_that_dagster_lost_is_named_by_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = {
        "EngineEventData": Internal("dagster._core.events_moved", "progress needs it"),
        "pack_value": Internal("dagster._core.events", "the workers' messages"),
    }
    monkeypatch.setattr(dagster_internals, "INTERNALS", lost)
    for name, (module, why) in lost.items():
        with pytest.raises(ImportError) as raised:
            getattr(dagster_internals, name)
        assert f"has no {module}.{name}" in str(raised.value)
        assert why in str(raised.value)
        assert f"install dagster=={CHECKED_ON}" in str(raised.value)
