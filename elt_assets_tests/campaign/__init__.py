"""Campaigns: the promises under thousands of accidents, judged by oracles, told in figures."""
