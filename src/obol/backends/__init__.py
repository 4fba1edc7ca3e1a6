"""One file per kind of cluster. They shell out and hold no policy.

Called by `stack` through a port; only `wiring` names a concrete one. They do not know each other, nor the registry.
`base` holds the port and its values, `detect` looks at what is installed.
"""
