"""`obol demo`."""
