"""Sources made for dlt, read page by page into our own staging."""

from __future__ import annotations
