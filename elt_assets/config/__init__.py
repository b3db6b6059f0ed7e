"""The configuration of an installation: settings, addresses, secret references and limits."""
