"""LDAP directories and Active Directory: configuration, session, records and memberships."""
