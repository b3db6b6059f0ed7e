"""Loading rate and memory of export files of sign-in events, beside DuckDB alone."""
