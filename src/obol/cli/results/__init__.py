"""What commands write as JSON: one module for each group of verbs. Values only.

Callers are the views, which fill them in, and `scripts.generate_schemas`, which makes the JSON Schemas in the package
and the page from these very types: the text below a field is its meaning there. A name ends in its unit where it has
one. Fields may be added; none is renamed, removed or given another meaning.
"""
