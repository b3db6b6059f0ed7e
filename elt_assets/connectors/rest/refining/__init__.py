"""Listings whose records are chosen by membership or completed by further requests."""
