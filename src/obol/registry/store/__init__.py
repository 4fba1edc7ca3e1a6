"""What we hold: verified content by digest, downloads under way, and the index of who may read what.

Three small ports (`ports`): content, partials, and metadata (tags and grants). Called by `engine`; only `wiring` names
an adapter. It never asks an upstream and never decides what may be removed.
"""
