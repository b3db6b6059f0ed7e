"""Peak memory of a sync by the size of the integration."""
