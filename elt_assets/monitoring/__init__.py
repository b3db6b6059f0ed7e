"""How the installation is: a report, metrics, and the small HTTP endpoint that serves both."""

from __future__ import annotations
