"""Rules for every file of the project that no linter knows and that a reader relies on.

Which package may import which is checked by the import contracts in pyproject.toml.
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "elt_assets"
LOCK = ROOT / "requirements.lock"

VAGUE_NAMES = {"base", "common", "helper", "helpers", "misc", "tools", "util", "utils"}
SQLITE_IN_DUCKDB = re.compile(
    r"TYPE\s+'?sqlite|(?:INSTALL|LOAD)\s+'?sqlite|sqlite_(?:attach|scan|query)\s*\(|sqlite_scanner"
    r"|ATTACH\s+'sqlite:",
    re.IGNORECASE,
)


def program_text(path: Path) -> Iterator[str]:
    """What of a file can reach a database: strings that are used, or a script less its comments."""
    text = path.read_text("utf-8")
    if path.suffix != ".py":
        yield re.sub(r"--[^\n]*|/\*.*?\*/", " ", text, flags=re.DOTALL)
        return
    tree = ast.parse(text)
    remarks = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in remarks
        ):
            yield node.value


def files_that_attach_sqlite(folder: Path) -> list[str]:
    """Files that would bring DuckDB's own SQLite library to the operational database."""
    return [
        str(path.relative_to(folder))
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".py", ".sql", ".yaml", ".yml", ".json")
        and any(SQLITE_IN_DUCKDB.search(text) for text in program_text(path))
    ]


def vaguely_named(folder: Path) -> list[str]:
    """Modules and folders whose name says nothing about what lives in them."""
    return [
        str(path.relative_to(folder))
        for path in sorted(folder.rglob("*"))
        if path.stem.lstrip("_") in VAGUE_NAMES
    ]


def names_of_two_things(folder: Path) -> dict[str, list[str]]:
    """Names of modules, and of public classes at the top of modules, that two files use."""
    found: dict[str, set[str]] = {}
    for path in folder.rglob("*.py"):
        if path.name.startswith("__"):
            continue
        classes = [
            node.name
            for node in ast.parse(path.read_text("utf-8")).body
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
        ]
        for name in (path.name, *classes):
            found.setdefault(name, set()).add(str(path.relative_to(folder)))
    return {name: sorted(files) for name, files in sorted(found.items()) if len(files) > 1}


def import_side_effects(package: str, above: Path, scratch: Path) -> list[str]:
    """What importing all of `package` does, seen by a hook and by what is left in the folders."""
    home, cwd = scratch / "home", scratch / "cwd"
    home.mkdir()
    cwd.mkdir()
    result = subprocess.run(
        [sys.executable, "-B", "-m", "elt_assets_tests.testbed.import_watch", package],
        cwd=cwd,
        env={
            "HOME": str(home),
            "ELT_ASSETS_HOME": str(home / "platform"),
            "PYTHONPATH": f"{above}:{ROOT}",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    left = [f"left {path.name} behind" for folder in (home, cwd) for path in folder.iterdir()]
    return [line for line in result.stdout.splitlines() if line] + left


def broken_contracts(folder: Path) -> str:
    """What `lint-imports` says about the tree in `folder`, which must break a contract."""
    result = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"],
        cwd=folder,
        env={"COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1, result.stdout + result.stderr
    return result.stdout


def requirements() -> dict[str, str]:
    """The lock: canonical package name to everything written about it."""
    blocks = re.split(r"^(?=[A-Za-z0-9])", LOCK.read_text("utf-8"), flags=re.MULTILINE)
    return {canonicalize_name(block.split("==")[0]): block for block in blocks if "==" in block}


def planted(folder: Path, **files: str) -> Path:
    """A package `planted` with one file for each argument; `__` in a name stands for a dot."""
    package = folder / "planted"
    package.mkdir()
    (package / "__init__.py").touch()
    for name, text in files.items():
        stem, _, suffix = name.rpartition("__")
        (package / f"{stem}.{suffix}").write_text(text, "utf-8")
    return package


def test_no_name_in_the_package_says_nothing() -> None:
    assert vaguely_named(PACKAGE) == []


def test_a_planted_vague_name_is_caught(tmp_path: Path) -> None:
    package = planted(tmp_path, utils__py="", _common__py="", database__py="")
    assert vaguely_named(package) == ["_common.py", "utils.py"]


def test_no_two_modules_or_classes_have_one_name() -> None:
    assert names_of_two_things(PACKAGE) == {}


def test_planted_second_names_are_caught(tmp_path: Path) -> None:
    package = planted(tmp_path, one__py="class Page: ...", two__py="class Page: ...")
    (package / "more").mkdir()
    (package / "more" / "two.py").touch()
    assert names_of_two_things(package) == {
        "Page": ["one.py", "two.py"],
        "two.py": ["more/two.py", "two.py"],
    }


def test_the_tree_has_few_entries_at_the_top_and_few_modules_in_each_folder() -> None:
    paths = [path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py")]
    top = {path.parts[0] for path in paths if not path.parts[0].startswith("__")}
    assert len(top) <= 16, top
    modules: dict[str, int] = {}
    for path in paths:
        if not path.name.startswith("__"):
            modules[str(path.parent)] = modules.get(str(path.parent), 0) + 1
    assert {folder: count for folder, count in modules.items() if count > 16} == {}


def test_every_folder_of_tests_is_a_folder_of_the_package() -> None:
    of_tests = [
        "benchmarks",
        "browser",
        "campaign",
        "connector_pages",
        "deploy",
        "end_to_end",
        "foreign",
        "mutation",
        "teaching",
        "testbed",
    ]
    tests = ROOT / "elt_assets_tests"
    folders = {path.parent.relative_to(tests) for path in tests.rglob("*.py")}
    unknown = [
        str(folder)
        for folder in sorted(folders)
        if not str(folder).startswith(tuple(of_tests)) and not (PACKAGE / folder).is_dir()
    ]
    assert unknown == []


def test_every_import_contract_breaks_when_its_rule_is_broken(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(PACKAGE, tmp_path / "elt_assets")
    for module, line in {
        "sync": "import dagster, urllib3",
        "connectors": "import duckdb",
        "storage": "import sqlite3, elt_assets.sync",
        "demo": "import elt_assets.connectors",
        "client": "import dagster",
        "sync/state": "import elt_assets.sync.admin",
    }.items():
        with (tmp_path / "elt_assets" / module / "__init__.py").open("a", encoding="utf-8") as file:
            file.write(f"\n{line}\n")
    output = broken_contracts(tmp_path)
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    kept = [c["name"] for c in contracts["contracts"] if f"{c['name']} BROKEN" not in output]
    assert kept == [], output


def test_a_module_without_a_layer_breaks_the_contract_of_the_house(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(PACKAGE, tmp_path / "elt_assets")
    (tmp_path / "elt_assets" / "drifter.py").touch()
    assert "drifter" in broken_contracts(tmp_path)


def test_nothing_attaches_the_operational_database_to_duckdb() -> None:
    assert files_that_attach_sqlite(PACKAGE) == []


@pytest.mark.parametrize(
    "statement",
    [
        "ATTACH '{path}' AS o (TYPE sqlite)",
        "attach '{path}' as o (read_only, type 'SQLITE')",
        "INSTALL sqlite; LOAD sqlite",
        "SELECT * FROM sqlite_scan('{path}', 'users_latest')",
    ],
)
def test_a_planted_sqlite_attach_is_caught_in_python_and_in_sql(
    tmp_path: Path, statement: str
) -> None:
    package = planted(
        tmp_path,
        plain__py=f'SQL = "{statement}"\n',
        formatted__py=f'def sql(path):\n    return f"{statement}"\n',
        script__sql=f"SELECT 1;\n{statement};\n",
        remark__py=f'"""Never {statement}."""\n# {statement}\n',
        remark__sql=f"-- never {statement}\nSELECT 1;\n",
    )
    assert files_that_attach_sqlite(package) == ["formatted.py", "plain.py", "script.sql"]


def test_importing_the_package_touches_no_file_socket_process_or_environment(
    tmp_path: Path,
) -> None:
    assert import_side_effects("elt_assets", ROOT, tmp_path) == []


@pytest.mark.parametrize(
    ("code", "seen"),
    [
        ("import os\nHOME = os.environ.get('HOME')", "environment HOME"),
        ("import os\nHOME = os.getenv('HOME')", "environment HOME"),
        ("import os\nFLAG = 'FLAG' in os.environ", "environment FLAG"),
        (
            "from elt_assets.config.settings import load_settings\nS = load_settings()",
            "environment ELT_ASSETS_HOME",
        ),
        ("open('note', 'w').close()", "open note"),
        ("from pathlib import Path\nPath('data').mkdir()", "os.mkdir data"),
        ("import subprocess\nsubprocess.run(['true'])", "subprocess.Popen true"),
        ("import socket\nsocket.socket().bind(('127.0.0.1', 0))", "socket.bind "),
        ("import duckdb\nduckdb.connect('file.duckdb').close()", "left file.duckdb behind"),
    ],
)
def test_a_planted_side_effect_of_an_import_is_caught(tmp_path: Path, code: str, seen: str) -> None:
    planted(tmp_path, culprit__py=code + "\n")
    found = import_side_effects("planted", tmp_path, tmp_path)
    assert any(seen in line for line in found), found


def test_what_a_library_looks_up_for_itself_is_not_held_against_the_package(
    tmp_path: Path,
) -> None:
    (tmp_path / "foreign.py").write_text(
        "import os\nHOME = os.environ['HOME']\ndef declare(): os.environ.get('FOREIGN_SWITCH')\n",
        "utf-8",
    )
    planted(tmp_path, user__py="import foreign\nforeign.declare()\n")
    assert import_side_effects("planted", tmp_path, tmp_path) == []


def test_the_lock_records_no_download_address() -> None:
    assert "://" not in LOCK.read_text("utf-8")


def test_the_lock_pins_every_package_by_hash() -> None:
    unpinned = [name for name, block in requirements().items() if "--hash=sha256:" not in block]
    assert requirements()
    assert unpinned == []


def test_the_lock_holds_a_version_that_pyproject_accepts_of_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    locked = requirements()
    wanted = project["project"]["dependencies"] + project["dependency-groups"]["dev"]
    missing = []
    for requirement in map(Requirement, wanted):
        block = locked.get(canonicalize_name(requirement.name), "")
        version = re.match(r"\S+==(\S+)", block)
        if version is None or not requirement.specifier.contains(version[1], prereleases=True):
            missing.append(str(requirement))
    assert missing == [], "run `make lock`"


def test_the_lock_names_all_that_its_packages_need() -> None:
    """So that pip may be told, as in the README, to look for nothing else."""
    found = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.stdout == "No broken requirements found.\n", found.stdout + found.stderr


def test_dagster_finds_the_workspace_file_and_nothing_that_beats_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert "elt_assets.definitions" in (ROOT / "workspace.yaml").read_text("utf-8")
    assert not {"dagster", "dg"} & set(project["tool"])


def test_make_help_names_every_target_that_the_documentation_promises() -> None:
    help_text = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    promised = {"demo", "test", "test-fast", "campaign", "check", "dev", "clean", "lock"}
    assert promised <= set(re.findall(r"^  make ([\w-]+) ", help_text, re.MULTILINE))
