"""The change feed: what it costs a sync, and how fast an application reads it."""
