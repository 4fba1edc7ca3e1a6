"""The command line: parse, call, print.

`main` knows the module of each group of verbs, and `verb` makes commands of functions. A group is a folder: `commands`
declares the verbs, `view` lays out what they show. No other package imports this one. It is the only place that prints,
prompts or exits; it holds no policy, so that everything it does can be done from a test without a terminal.
"""
