"""Emulators of well-known providers, written from their public documentation.

Each is described in a YAML file named after its provider. They share no code with the connectors
and presets that are checked against them.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

from elt_assets.conformance.emulators.description import Emulation, described


@cache
def emulations() -> dict[str, Emulation]:
    """All emulations by the name of their preset, read once."""
    files = sorted(resources.files(__name__).iterdir(), key=lambda file: file.name)
    return {
        (name := file.name.removesuffix(".yaml")): described(name, file.read_text("utf-8"))
        for file in files
        if file.name.endswith(".yaml")
    }
