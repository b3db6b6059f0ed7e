"""The place of an installation in a Dagster deployment: names, keys and tags of its definitions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

INSTALLATION_TAG = "elt_assets/installation"
"""Tag of our jobs, and so of their runs: the installation that they belong to."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the definitions of one installation are placed."""

    @property
    def resource(self) -> str:
        """The key of the installation's resource, which also identifies the installation."""
        return "elt_assets"

    @property
    def tags(self) -> Mapping[str, str]:
        """The tags of every job."""
        return {INSTALLATION_TAG: self.resource}


STANDALONE = Placement()
"""A code location of its own: no prefix."""
