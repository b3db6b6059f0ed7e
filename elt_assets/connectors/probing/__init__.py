"""Probes: requests that find out whether a record that was not listed is really gone.

The package chooses the requests, sends them and judges the answers. The sync engine decides what
happens to the record.
"""
