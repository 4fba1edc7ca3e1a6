"""The backend k3d: a cluster in Docker."""
