"""One registry behind us: tokens, redirects by hand, time limits, back-off and the breaker.

Called by `engine` through a port (`base`). Every foreign error is translated here, once; nothing above sees aiohttp.
"""
