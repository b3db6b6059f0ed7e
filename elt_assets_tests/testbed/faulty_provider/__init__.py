"""The embedded provider with faults that a test orders: false, broken and changing answers."""
