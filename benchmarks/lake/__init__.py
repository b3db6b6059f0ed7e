"""What a sync costs in a lake that many integrations share, and how many commits it takes."""

from __future__ import annotations
