"""Signatures of each request, made with a key that is never sent."""
