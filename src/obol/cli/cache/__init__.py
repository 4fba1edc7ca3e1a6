"""`obol cache …`."""
