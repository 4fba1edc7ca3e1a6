"""The unix socket by which the command line asks a running engine: status, listeners, stop.

Called by `wiring`. Nothing that changes state is reachable by TCP.
"""
