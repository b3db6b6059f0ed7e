"""Pages of a REST listing: their requests, fetching, reading and prefetch."""
