"""The cache engines as the rest of the product sees them: start, stop, ask.

Called by `stack` and `cli` through a port. A cache is known by its command line, its address and its control socket;
this package never imports the registry.
"""
