"""The warehouse of raw records and change logs, as DuckDB files."""
