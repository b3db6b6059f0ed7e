"""Probes: is a record that was not listed really gone?

Belongs here: choosing what to ask for, sending it and judging the answers. Does not: what follows
for the record; the engine decides that.
"""
