"""`obol stack …`."""
