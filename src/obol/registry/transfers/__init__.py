"""Blobs on their way from their upstream into the store, and the clients that follow them."""
