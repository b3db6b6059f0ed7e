"""Measurements: what the figures in the documentation come from."""

from __future__ import annotations
