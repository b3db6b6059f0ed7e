"""Loading rate and memory of export files of sign-in events, compared with DuckDB alone."""
