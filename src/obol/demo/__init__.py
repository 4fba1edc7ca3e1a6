"""The main job shown on a bare machine: a slowed local origin, and four pulls from it.

`scenario.demonstrate` plays it: `origin` in a process of its own, a cache engine in another, and new nodes in ours.
Called by `cli`. Of `registry` it imports only the schema. It prints nothing, and leaves nothing behind.
"""
