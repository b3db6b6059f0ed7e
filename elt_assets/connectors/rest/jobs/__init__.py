"""Jobs: a request begins an export, others ask whether it is done, and its file is read."""
