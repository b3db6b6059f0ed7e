"""Pages of JSON as bytes: their envelope, their records, and records that are malformed."""
