"""`obol dev …`."""
