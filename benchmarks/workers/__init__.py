"""The gain of a second worker, and the cost of losing one."""

from __future__ import annotations
