"""The embedded provider: a real HTTP server with generated people, for demos and tests."""
