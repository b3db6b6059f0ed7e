"""Any REST API as a source: pagination, nested lists and single records."""
