"""HTTP to clients and nothing else: parse a request, ask the engine, write the answer.

Called by `wiring`. It holds no cache policy and opens no upstream connection.
"""
