"""The analytics warehouse: its tables, schema and load strategies."""
