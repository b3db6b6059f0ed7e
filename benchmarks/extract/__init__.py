"""Users a second from an HTTP API to staged rows."""

from __future__ import annotations
