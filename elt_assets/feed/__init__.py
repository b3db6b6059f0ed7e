"""The change feed: applied changes for applications, by pull and by signed webhook."""
