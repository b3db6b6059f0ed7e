"""The demo and the embedded provider on the command line."""
