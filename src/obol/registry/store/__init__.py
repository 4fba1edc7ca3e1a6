"""What we hold: verified content by digest, partials, and metadata: tags, grants, and what manifests refer to.

Three small ports (`ports`); an adapter is a package, as `disk` is, and `layout` names the files in a store's directory.
Called by `engine`, `transfers` and `upkeep`; only `wiring` names an adapter. The store asks no upstream, and does not
decide what may be removed.
"""
