"""A fleet whose providers answer slowly: the cost of each integration."""

from __future__ import annotations
