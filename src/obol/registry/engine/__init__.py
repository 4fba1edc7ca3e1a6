"""Where a request meets what is stored, what policy decides and what an upstream answers.

Called by `server` and `control`. It owns the flights: at most one upstream transfer per digest, per tag check.
"""
