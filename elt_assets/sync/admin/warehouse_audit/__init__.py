"""Auditing the warehouses themselves: which of them to read, and what is wrong with each."""
