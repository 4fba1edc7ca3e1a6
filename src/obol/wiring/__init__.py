"""The composition root: settings in, running things out. The only package that names concrete adapters.

Called by `cli`. One module per thing that is put together, because commands that only ask a running engine must not
wait for the engine's own code to load.
"""
