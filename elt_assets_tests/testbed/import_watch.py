"""Import every module of a package and report what importing it did besides importing.

The module watches files, sockets, processes and the environment. Run it as `python -m
elt_assets_tests.testbed.import_watch PACKAGE` in a fresh interpreter: an audit hook cannot be
removed, and a module that has been imported already is not imported again.

What a third-party library does when it is imported is not reported. An act counts only if a module
of PACKAGE is found on the stack before the import system is: then the module itself caused it,
directly or by calling into a library. Libraries look up switches of their own whenever a model, a
command or an asset is declared; a library's look-up counts only if it concerns the platform's
settings.
"""

from __future__ import annotations

import importlib.util
import os
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from pydantic import create_model

ACTS = (
    "open",
    "os.",
    "shutil.",
    "socket.",
    "sqlite3.",
    "subprocess.",
    "tempfile.",
    "urllib.",
)
# Reading code is what importing is.
CODE = (".py", ".pyc", ".pyi", ".so")
SETTINGS = ("ELT_ASSETS_", "DAGSTER_HOME", "HOME")
STANDARD_LIBRARY = str(Path(pkgutil.__file__).parent) + os.sep
THIRD_PARTY = ("site-packages", "dist-packages")


def frames(frame: FrameType | None) -> Iterator[FrameType]:
    """The stack from the innermost frame outwards."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def in_third_party_code(file: str, root: str) -> bool:
    """Whether `file` is neither under `root` nor of Python itself."""
    if file.startswith((root, "<frozen")) or file == __file__:
        return False
    return not file.startswith(STANDARD_LIBRARY) or any(name in file for name in THIRD_PARTY)


def culprit(root: str, through_libraries: bool = True) -> str | None:
    """`file:line` of the innermost frame under `root` that no import separates from here.

    None also if a library is in between and `through_libraries` is False.
    """
    for frame in frames(sys._getframe(1)):
        file = frame.f_code.co_filename
        if file.startswith("<frozen importlib"):
            return None
        if file.startswith(root):
            return f"{file.removeprefix(root)}:{frame.f_lineno}"
        if not through_libraries and in_third_party_code(file, root):
            return None
    return None


def watch(package: str) -> list[str]:
    """Import every module of `package`; return one line for each thing it should not have done."""
    spec = importlib.util.find_spec(package)
    assert spec is not None, package
    assert spec.origin is not None, package
    root = str(Path(spec.origin).parent) + os.sep
    # Pydantic looks for plugins when the first model is declared, whoever happens to be first.
    create_model("First")
    found: list[str] = []
    busy = False

    def note(act: str, through_libraries: bool = True) -> None:
        nonlocal busy
        if busy:
            return
        busy = True
        try:
            at = culprit(root, through_libraries)
            if at is not None:
                found.append(f"{at} {act}")
        finally:
            busy = False

    def audit(event: str, arguments: tuple[object, ...]) -> None:
        if not event.startswith(ACTS):
            return
        subject = str(arguments[0]) if arguments else ""
        if event == "open" and subject.endswith(CODE):
            return
        note(f"{event} {subject}")

    environment = type(os.environ)
    read = environment.__getitem__

    def watched_read(self: os._Environ[str], key: str) -> str:
        note(f"environment {key}", through_libraries=key.startswith(SETTINGS))
        return read(self, key)

    sys.addaudithook(audit)
    environment.__getitem__ = watched_read  # type: ignore[method-assign]
    try:
        importlib.import_module(package)
        for module in pkgutil.walk_packages([root], prefix=f"{package}."):
            # A __main__ module is a program: it is run, never imported.
            if not module.name.endswith(".__main__"):
                importlib.import_module(module.name)
    finally:
        environment.__getitem__ = read  # type: ignore[method-assign]
    return found


if __name__ == "__main__":
    print("\n".join(watch(sys.argv[1])))
