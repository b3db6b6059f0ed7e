"""What the stores hold about integrations: tables, registry, ledger, change log."""
