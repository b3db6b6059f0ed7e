"""The models of a REST stream in provider_data: what it says of requests, pages and records."""
