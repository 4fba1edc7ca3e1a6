"""Decisions as values: freshness, retries, gates, what a status means, when a transfer is given up.

Called by `engine`, `transfers` and `upstream`. Pure: the time is an argument, and nothing here waits.
"""
