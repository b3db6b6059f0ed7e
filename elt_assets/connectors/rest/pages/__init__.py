"""Pages of a REST listing: what they are asked for with, fetching, reading, fetching ahead."""
