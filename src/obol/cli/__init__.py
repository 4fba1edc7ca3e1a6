"""The command line: parse, call, print.

One file per verb group. Nobody imports this package. It is the only place that prints, prompts or exits; it holds no
policy, so that everything it does can be done from a test without a terminal.
"""
