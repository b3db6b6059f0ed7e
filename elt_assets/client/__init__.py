"""The remote client's knowledge: a web server's GraphQL, and what its runs tell."""

from __future__ import annotations
