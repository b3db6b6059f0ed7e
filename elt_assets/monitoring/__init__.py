"""The state of the installation: a report, metrics, and the HTTP endpoint that serves both."""

from __future__ import annotations
