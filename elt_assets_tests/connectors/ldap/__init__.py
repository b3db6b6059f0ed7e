"""Tests of the LDAP source."""
