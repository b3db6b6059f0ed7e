"""The cost of a sync in a lake that many integrations share, and the lake's rate of commits."""

from __future__ import annotations
