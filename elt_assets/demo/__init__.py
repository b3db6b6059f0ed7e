"""The embedded provider: a real HTTP server with generated people, for demos and tests.

Belongs here: everything that plays the provider. Does not: anything the platform needs to
read one; the platform knows it by HTTP alone, and only the command line starts it.
"""
