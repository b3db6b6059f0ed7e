"""Work over all integrations: audits, backup, export, maintenance and migrations."""
