"""Decisions as values: freshness, retries, the circuit breaker, how a blob is split, when a transfer is given up.

Called by `engine` and `upstream`. Pure: the time is an argument, and nothing here waits.
"""
