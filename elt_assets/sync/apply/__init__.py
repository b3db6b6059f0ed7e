"""From logged changes to the latest table, and the ways back."""
