"""What it costs to look after a fleet, by how many integrations there are."""

from __future__ import annotations
