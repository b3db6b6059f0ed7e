"""Audits that read the warehouses: which warehouses to read, and what is wrong with each."""
