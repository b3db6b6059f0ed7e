"""The change feed: its cost for a sync, and how fast an application reads it."""
