"""One registry behind us: tokens, redirects by hand, time limits, back-off and the breaker.

Called by `engine` and `transfers` through the port in `ports`. Every foreign error is translated here, once; nothing
above sees aiohttp.
"""
