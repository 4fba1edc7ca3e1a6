"""What we hold: verified content by digest, partials, and metadata: tags, grants, and what manifests refer to.

Three small ports (`ports`). Called by `engine`, `transfers` and `upkeep`; only `wiring` names an adapter. The store
asks no upstream, and does not decide what may be removed.
"""
