"""Jobs: one request begins an export, others poll its state, and its file is read."""
