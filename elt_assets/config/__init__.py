"""What an installation is configured with: settings, addresses, secret references and limits."""
