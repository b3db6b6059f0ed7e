"""Asset checks over all integrations and days."""
