"""What a running engine and its clients tell each other: the schema, the client of the control socket, its server.

`api` and `client` may be imported by all above `registry`, the rest by `wiring` alone. No request over TCP changes
state.
"""
