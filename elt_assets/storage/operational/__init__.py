"""The operational database that applications read: SQLite or PostgreSQL."""
