"""Values in, text out: the configuration files that make a cluster use the caches.

Pure: no I/O of any kind. Called by `backends`, `caches` and `stack`, which write the files.
"""
