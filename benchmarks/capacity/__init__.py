"""The capacity that a fleet needs, simulated from the measured costs of its parts."""

from __future__ import annotations
