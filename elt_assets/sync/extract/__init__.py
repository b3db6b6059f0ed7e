"""Extraction: turn a source's pages into staged records and a certificate."""
