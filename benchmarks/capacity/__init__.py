"""What a fleet needs, by simulation from measured costs of its parts."""

from __future__ import annotations
