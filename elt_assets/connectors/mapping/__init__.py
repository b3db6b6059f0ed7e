"""Field maps of provider_data: expressions, templates and their evaluation."""
