"""Where a request meets what is stored, what policy decides and what an upstream answers.

Called by `server` and `control`. It owns the transfers, at most one for each digest of an upstream, and the flights.
"""
