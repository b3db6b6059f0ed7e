"""Sending HTTP requests: credentials, tokens, retries, rate limits and allowed origins."""
