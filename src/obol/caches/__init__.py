"""The cache engines as the rest of the product sees them: start, stop, ask.

Called by `stack` and `cli`. A cache is known by its command line, its address and its control socket; of the registry
this package imports only the schema and the client of that socket, and the names in a store.
"""
