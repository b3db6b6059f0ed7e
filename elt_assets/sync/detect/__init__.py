"""From staged records to changes, and the decision which of them may be applied."""
