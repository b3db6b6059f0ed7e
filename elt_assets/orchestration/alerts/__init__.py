"""Alerts: the open issues, and the channels that send them."""
