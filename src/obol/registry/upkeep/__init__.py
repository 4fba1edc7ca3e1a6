"""What looks after a store beside requests: what needs what, and which images are held.

Called by `wiring` and the control socket, never by the engine: an answer waits for nothing here.
"""
