"""The models of REST provider_data: authentication, requests, pages and records."""
