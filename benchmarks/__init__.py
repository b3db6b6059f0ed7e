"""The measurements from which the figures in the documentation come."""

from __future__ import annotations
