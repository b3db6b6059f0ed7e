"""Running a module's own test file against its mutants, each in a process forked for it.

What both need is imported once, before; a process imports only the mutated module again and what
imports it. The quickest tests that call the changed function come first, and one failure ends it.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any

import pytest

from elt_assets_tests.mutation.mutants import Mutant

_PATIENCE = 10
"""How many times as long as unmutated a test file may take; a mutant may have no end."""


@dataclass(frozen=True, slots=True)
class Target:
    """A module that judges, and the test file that must hold it."""

    name: str
    path: Path
    tests: Path


@dataclass(slots=True)
class Baseline:
    """How long each test takes unmutated, and the first lines of the functions that it calls."""

    seconds: dict[str, float] = field(default_factory=dict)
    called: dict[str, list[int]] = field(default_factory=dict)

    def order(self, first_line: int | None) -> list[str]:
        """The tests that call the function that begins there (None: the module), quickest first."""
        chosen = [
            test for test in self.seconds if first_line is None or first_line in self.called[test]
        ]
        return sorted(chosen, key=lambda test: self.seconds[test])


def measured(target: Target) -> Baseline:
    """Run the test file as it is. Raises `AssertionError` if that does not pass."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "baseline.json"

        def run() -> int:
            watch = _Watch(target.path)
            _replace(target, target.path.read_text("utf-8"))
            status = _pytest(target, Path(folder), [watch])
            report.write_text(json.dumps([watch.seconds, watch.called]))
            return status

        said = Path(folder) / "said"
        child = os.fork()
        if child == 0:
            _end_with(run, said)
        _, status = os.waitpid(child, 0)
        assert status == 0, f"{target.tests} fails without any mutant:\n{said.read_text()}"
        return Baseline(*json.loads(report.read_text()))


def survivors(
    target: Target, mutants: Sequence[Mutant], baseline: Baseline, workers: int
) -> list[Mutant]:
    """The mutants that no test of the file notices."""
    starts = _function_lines(target.path.read_text("utf-8"))
    _importers(target.name)  # here, so that no child has to find them out
    most = 20 + _PATIENCE * sum(baseline.seconds.values())
    text = target.path.read_text("utf-8")
    waiting, alive = list(reversed(mutants)), []
    running: dict[int, tuple[Mutant, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        while waiting or running:
            while waiting and len(running) < workers:
                mutant = waiting.pop()
                tests = baseline.order(starts.get(mutant.number))
                if not tests:
                    alive.append(mutant)
                    continue
                child = os.fork()
                if child == 0:
                    place = Path(folder) / str(os.getpid())
                    _end_with(lambda m=mutant, t=tests, p=place: _judge(target, m, text, t, p))
                running[child] = mutant, time.monotonic() + most
            for child, survived in _ended(running):
                mutant, _ = running.pop(child)
                if survived:
                    alive.append(mutant)
    return sorted(alive)


def _ended(running: dict[int, tuple[Mutant, float]]) -> Iterator[tuple[int, bool]]:
    for child, (_, deadline) in [*running.items()]:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            yield child, status == 0
        elif time.monotonic() > deadline:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
    time.sleep(0.005)


def _judge(target: Target, mutant: Mutant, text: str, tests: list[str], folder: Path) -> int:
    folder.mkdir()
    _replace(target, mutant.applied(text))
    status = _pytest(target, folder, [_Chosen(tests)])
    shutil.rmtree(folder, ignore_errors=True)
    return status


def _end_with(run: Callable[[], int], said: Path = Path(os.devnull)) -> None:
    """End this forked process with the status of `run`; what it prints goes to a file."""
    status = None
    try:
        output = os.open(said, os.O_RDWR | os.O_CREAT)
        for stream in (1, 2):
            os.dup2(output, stream)
        status = run()
    finally:
        if status is None:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1 if status is None else status)


def _pytest(target: Target, folder: Path, plugins: list[Any]) -> int:
    arguments = [
        str(target.tests),
        "-x",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "--assert=plain",
    ]
    return int(pytest.main([*arguments, f"--basetemp={folder / 'tests'}"], [*plugins, _Hurry()]))


class _Hurry:
    """A property that fails is not shrunk: which example it was is not asked."""

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self) -> None:
        from hypothesis import Phase, settings

        phases = (Phase.explicit, Phase.generate)
        settings.register_profile("mutants", parent=settings(), phases=phases, database=None)
        settings.load_profile("mutants")


class _Chosen:
    """Only these tests, in this order."""

    def __init__(self, tests: list[str]) -> None:
        self._place = {test: place for place, test in enumerate(tests)}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if item.nodeid in self._place]
        items.sort(key=lambda item: self._place[item.nodeid])


class _Watch:
    """How long each test takes, and which functions of the module it calls."""

    def __init__(self, path: Path) -> None:
        self.seconds: dict[str, float] = {}
        self.called: dict[str, list[int]] = {}
        self._path = str(path)
        self._seen: set[CodeType] = set()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._seen = set()
        started = time.perf_counter()
        threading.settrace(self._trace)
        sys.settrace(self._trace)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            threading.settrace(None)  # type: ignore[arg-type]
            self.seconds[item.nodeid] = time.perf_counter() - started
            self.called[item.nodeid] = sorted({code.co_firstlineno for code in self._seen})

    def _trace(self, frame: FrameType, event: str, argument: object) -> None:
        if frame.f_code.co_filename == self._path:
            self._seen.add(frame.f_code)


def _function_lines(text: str) -> dict[int, int]:
    """For each line inside a function, the first line of the outermost function around it."""
    lines: dict[int, int] = {}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            # A decorated function's code begins with its first decorator.
            first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
            for line in range(node.lineno, (node.end_lineno or node.lineno) + 1):
                lines.setdefault(line, first)
    return lines


class _Mutated(importlib.machinery.SourceFileLoader):
    text = ""

    def get_code(self, fullname: str) -> CodeType:
        return compile(self.text, self.path, "exec", dont_inherit=True)


def _replace(target: Target, text: str) -> None:
    """Let this process import the mutated module, now and wherever it was imported before."""
    loader = _Mutated(target.name, str(target.path))
    loader.text = text

    class Finder(importlib.abc.MetaPathFinder):
        def find_spec(self, fullname: str, *_: object) -> importlib.machinery.ModuleSpec | None:
            if fullname != target.name:
                return None
            return importlib.util.spec_from_file_location(fullname, target.path, loader=loader)

    sys.meta_path.insert(0, Finder())
    for name in _importers(target.name):
        del sys.modules[name]
        package, _, last = name.rpartition(".")
        if last in vars(sys.modules.get(package, ModuleType(""))):
            delattr(sys.modules[package], last)


@cache
def _importers(name: str) -> frozenset[str]:
    """The module and all loaded modules of this project that import it, however indirectly."""
    package = name.partition(".")[0]
    imports = {
        one: _imported(module)
        for one, module in sys.modules.items()
        if one.partition(".")[0] in (package, f"{package}_tests")
    }
    found = {name} & sys.modules.keys()
    while more := {one for one, names in imports.items() if names & found} - found:
        found |= more
    return frozenset(found)


def _imported(module: ModuleType) -> set[str]:
    path = getattr(module, "__file__", None)
    if path is None or not path.endswith(".py"):
        return set()
    names = set()
    for node in ast.walk(ast.parse(Path(path).read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def preload(target: Target, root: Path) -> None:
    """Import the test file and all that it needs, for the processes to find it imported."""
    importlib.import_module(".".join(target.tests.relative_to(root).with_suffix("").parts))
