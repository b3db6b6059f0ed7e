"""From records to events and daily summaries."""
