"""The dagster.yaml of an installation, written from the settings.

A file that we wrote and nobody changed follows the settings. A changed one is kept, and refused
where it contradicts them.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Mapping
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

import yaml

from elt_assets.config.settings import Settings
from elt_assets.errors import InvalidInput

CONFIG_FILE = "dagster.yaml"

_DISTRIBUTED_FILE = "dagster.distributed.yaml"
_STAMP = "# Written by elt-assets, unchanged as long as this is its digest: "
_STORAGE = "SettingsPostgresStorage"
_LAUNCHER = "WorkerRunLauncher"
_OWN_MODULES = re.compile(r"""^[^#\n]*\bmodule:\s*["']?(elt_assets(?:\.\w+)+)""", re.MULTILINE)


def shipped_config(settings: Settings) -> str:
    """The dagster.yaml that `settings` ask for."""
    sections = _sections(CONFIG_FILE)
    other = _sections(_DISTRIBUTED_FILE)
    if settings.dagster_url is not None:
        del sections["event_log_storage"]
        sections["storage"] = other["storage"]
    if settings.broker_url is not None:
        for name in ("run_launcher", "run_coordinator", "run_monitoring"):
            sections[name] = other[name]
    sections["concurrency"] = sections["concurrency"].replace(
        "max_concurrent_runs: 2", f"max_concurrent_runs: {settings.max_runs}"
    )
    text = "\n\n".join(sections.values()) + "\n"
    return f"{text}\n{_STAMP}{_digest(text)}\n"


def follow(path: Path, settings: Settings) -> None:
    """Let the dagster.yaml at `path` be what `settings` ask for, unless a person wrote it.

    Such a one is left as it is. Raises `InvalidInput` where it contradicts the settings, and
    where ours would have to turn back to files of this machine: a command that was started
    without the server's settings must not cut the server, or a worker, off from its runs.
    """
    wanted = shipped_config(settings)
    found = _read(path)
    if found == wanted:
        return
    if found:
        refuse_contradiction(path, settings, may_be_written_anew=_is_ours(found))
    if not found or _is_ours(found):
        _replace(path, wanted)


def refuse_contradiction(
    path: Path, settings: Settings, *, may_be_written_anew: bool = False
) -> None:
    """Raise `InvalidInput` if the dagster.yaml at `path` does what settings do not ask for.

    Unless it `may_be_written_anew`, also if it does not do what they ask for, or names a module
    that this version of elt_assets does not have.
    """
    text = _read(path)
    if not may_be_written_anew:
        _refuse_missing_modules(path, text)
    for url, name, section, needed in (
        (settings.dagster_url, "ELT_ASSETS_DAGSTER_URL", "storage", _STORAGE),
        (settings.broker_url, "ELT_ASSETS_BROKER_URL", "run_launcher", _LAUNCHER),
    ):
        if url is None and needed in _section(path, text, section, needed):
            raise InvalidInput(
                f"{path} has the section `{section}` for {name}, which is not set: set it, or "
                "delete the file to do without"
            )
        if url is None or may_be_written_anew:
            continue
        if needed not in _section(path, text, section, section):
            raise InvalidInput(
                f"{path} does not do what {name} asks for: it has been changed, and so is not "
                f"written anew. Take the section `{section}` from the dagster.yaml of an empty "
                "home, or delete the file"
            )


def refuse_what_is_not_installed(settings: Settings) -> None:
    """Raise `InvalidInput` if settings ask for an engine that needs an extra."""
    for url, name, module, extra in (
        (settings.dagster_url, "ELT_ASSETS_DAGSTER_URL", "dagster_postgres", "postgres-instance"),
        (settings.broker_url, "ELT_ASSETS_BROKER_URL", "dagster_celery", "celery"),
    ):
        if url is not None and find_spec(module) is None:
            raise InvalidInput(
                f"{name} needs what is not installed: pip install 'elt-assets[{extra}]'"
            )


def _refuse_missing_modules(path: Path, text: str) -> None:
    """Raise `InvalidInput` if `text` names a module of elt_assets that is not there.

    Dagster would end with a traceback; the file was written by a version with another layout.
    """
    for module in _OWN_MODULES.findall(text):
        try:
            found = find_spec(module)
        except ModuleNotFoundError:
            found = None
        if found is None:
            raise InvalidInput(
                f"{path} names the module {module}, which this version of elt_assets does not "
                "have. Take the section that names it from the dagster.yaml of an empty home, or "
                "delete the file"
            )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


def _section(path: Path, text: str, name: str, mark: str) -> str:
    """What a dagster.yaml says in a section; it is read as YAML only if it has `mark` at all."""
    if mark not in text:
        return ""
    try:
        chosen = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidInput(f"{path} is no YAML: {str(error).partition(chr(10))[0]}") from None
    return str(chosen.get(name)) if isinstance(chosen, Mapping) else ""


def _sections(file: str) -> dict[str, str]:
    """The paragraphs of a shipped file by their key; the first, a comment, has the key ''."""
    text = (
        resources.files("elt_assets.orchestration.instance")
        .joinpath(file)
        .read_text(encoding="utf-8")
    )
    found = {}
    for paragraph in text.strip().split("\n\n"):
        keys = [line for line in paragraph.splitlines() if not line.startswith(("#", " "))]
        found[keys[0].partition(":")[0] if keys else ""] = paragraph
    return found


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _is_ours(text: str) -> bool:
    body, stamp, digest = text.rpartition(f"\n{_STAMP}")
    return bool(stamp) and digest.strip() == _digest(body)


def _replace(path: Path, text: str) -> None:
    """Write in one step: other processes of this installation may be reading it."""
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, prefix=f".{path.name}.", delete=False, encoding="utf-8"
    ) as new:
        new.write(text)
    os.replace(new.name, path)
