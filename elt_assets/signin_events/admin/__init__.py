"""Checks, listings, retention and erasure of sign-in events."""
