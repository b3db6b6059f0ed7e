"""Compare staged records with the latest table, and decide which changes may be applied."""
