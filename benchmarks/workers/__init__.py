"""What a second worker adds, and what the death of one costs."""

from __future__ import annotations
