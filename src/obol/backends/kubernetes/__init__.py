"""Kubernetes as the backends k3d and k3s use it: kubectl, deploying, and waiting for what was deployed."""
