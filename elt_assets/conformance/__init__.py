"""The connector test kit: what a connector must get right, checked against a server over HTTP."""
