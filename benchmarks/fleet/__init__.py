"""Integrations a second: many small tenants, each an API of its own to keep in sync."""

from __future__ import annotations
