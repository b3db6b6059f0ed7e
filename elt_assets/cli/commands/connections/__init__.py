"""Commands about integrations and connectors."""
