"""The builtin engine: a registry that pulls through. It stands alone and knows nothing of clusters.

A request goes down through `server` (HTTP) to `engine` (join what is known, decided and fetched), which asks `policy`
(pure decisions), `store` (what we hold), `transfers` (blobs on their way) and `upstream` (the registries behind us).
`control` is the unix socket by which the command line talks to a running engine, and the schema of what they say.
"""
