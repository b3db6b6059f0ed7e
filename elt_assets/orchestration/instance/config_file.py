"""The dagster.yaml of an installation, written from the settings.

An unchanged file follows the settings. A file that a person changed is kept; if it contradicts the
settings, that is an error.
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
_COORDINATOR = "ProxyUserRunCoordinator"
_OWN_MODULES = re.compile(r"""^[^#\n]*\bmodule:\s*["']?(elt_assets(?:\.\w+)+)""", re.MULTILINE)


def shipped_config(settings: Settings) -> str:
    """The dagster.yaml for `settings`."""
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
    """Write the dagster.yaml for `settings` to `path`, unless a person wrote or changed the file.

    Raises `InvalidInput` for a person's file that contradicts the settings, and for our file if it
    would return to files of this machine: a command without the server's settings must not
    separate the server or a worker from its runs.
    """
    wanted = shipped_config(settings)
    found = _read(path)
    if found == wanted:
        return
    if found:
        refuse_contradiction(path, settings, may_be_replaced=_is_unchanged(found))
    if not found or _is_unchanged(found):
        _replace(path, wanted)


def refuse_contradiction(path: Path, settings: Settings, *, may_be_replaced: bool = False) -> None:
    """Raise `InvalidInput` if the dagster.yaml at `path` has a section that needs an unset setting.

    Unless the file `may_be_replaced`, also raise if it lacks a section that a setting needs, or
    names a module that this version of elt_assets does not have.
    """
    text = _read(path)
    if not may_be_replaced:
        _refuse_missing_modules(path, text)
    for url, name, section, needed in (
        (settings.dagster_url, "ELT_ASSETS_DAGSTER_URL", "storage", _STORAGE),
        (settings.broker_url, "ELT_ASSETS_BROKER_URL", "run_launcher", _LAUNCHER),
    ):
        if url is None and needed in _section(path, text, section, needed):
            raise InvalidInput(
                f"{path} has the section `{section}` for {name}, which is not set: set it, or "
                "delete the file"
            )
        if url is None or may_be_replaced:
            continue
        _refuse_missing_section(path, text, section, needed, name)
    if settings.proxy_user_header is not None and not may_be_replaced:
        name = "ELT_ASSETS_PROXY_USER_HEADER"
        _refuse_missing_section(path, text, "run_coordinator", _COORDINATOR, name)


def refuse_what_is_not_installed(settings: Settings) -> None:
    """Raise `InvalidInput` if the settings need an extra that is not installed."""
    for url, name, module, extra in (
        (settings.dagster_url, "ELT_ASSETS_DAGSTER_URL", "dagster_postgres", "postgres-instance"),
        (settings.broker_url, "ELT_ASSETS_BROKER_URL", "dagster_celery", "celery"),
    ):
        if url is not None and find_spec(module) is None:
            raise InvalidInput(
                f"{name} needs an extra that is not installed: pip install 'elt-assets[{extra}]'"
            )


def _refuse_missing_section(path: Path, text: str, section: str, needed: str, name: str) -> None:
    """Raise `InvalidInput` if `text` lacks the `section` that the setting `name` needs."""
    if needed not in _section(path, text, section, section):
        raise InvalidInput(
            f"{path} lacks the section `{section}` for {name}, and was changed, so it is not "
            "replaced. Copy the section from the dagster.yaml of an empty home, or delete the file"
        )


def _refuse_missing_modules(path: Path, text: str) -> None:
    """Raise `InvalidInput` if `text` names a module of elt_assets that does not exist.

    Dagster would end with a traceback. Such a file comes from a version with another layout.
    """
    for module in _OWN_MODULES.findall(text):
        try:
            found = find_spec(module)
        except ModuleNotFoundError:
            found = None
        if found is None:
            raise InvalidInput(
                f"{path} names the module {module}, which this version of elt_assets does not "
                "have. Copy the section from the dagster.yaml of an empty home, or delete the file"
            )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


def _section(path: Path, text: str, name: str, mark: str) -> str:
    """A section of a dagster.yaml; the text is parsed only if it contains `mark`."""
    if mark not in text:
        return ""
    try:
        chosen = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidInput(f"{path} is not YAML: {str(error).partition(chr(10))[0]}") from None
    return str(chosen.get(name)) if isinstance(chosen, Mapping) else ""


def _sections(file: str) -> dict[str, str]:
    """The paragraphs of a shipped file by their key; a comment alone has the key ''."""
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


def _is_unchanged(text: str) -> bool:
    body, stamp, digest = text.rpartition(f"\n{_STAMP}")
    return bool(stamp) and digest.strip() == _digest(body)


def _replace(path: Path, text: str) -> None:
    """Replace the file in one step, because other processes may be reading it."""
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, prefix=f".{path.name}.", delete=False, encoding="utf-8"
    ) as new:
        new.write(text)
    os.replace(new.name, path)
