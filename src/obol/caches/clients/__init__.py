"""The container clients of this machine, set up so that they pull through the caches."""
