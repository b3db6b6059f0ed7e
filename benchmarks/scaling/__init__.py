"""The cost of scheduling and monitoring a fleet, by the number of its integrations."""

from __future__ import annotations
