"""From a source's pages to staged records and a certificate."""
