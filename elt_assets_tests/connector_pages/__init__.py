"""The programs that write the documentation of the connectors, and their input."""
