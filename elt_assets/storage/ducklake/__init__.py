"""The warehouse as a DuckLake: Parquet files, with a catalog in PostgreSQL."""
