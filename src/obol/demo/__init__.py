"""The main job shown on a bare machine: a slowed local origin, and four pulls from it.

`scenario.demonstrate` plays it: `origin` in a process of its own, a cache engine in another, a `node` in ours. Called
by `cli`, which hands in how an engine is made. It never imports `registry`, prints nothing, and leaves nothing behind.
"""
