"""Our own client of an OCI registry: it pulls images, through a cache or from a registry itself.

Called by `caches` (warming), `stack` and `demo`. It verifies all that it reads and keeps nothing unless it is given a
sink. Of our cache it knows the address and the headers of its answers, whose names are in `registry.control.api`.
"""
