"""The embedded provider: a real HTTP server with generated people, for demos and tests.

The platform knows it by HTTP alone, and only the command line starts it.
"""
