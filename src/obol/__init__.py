"""Obol Stack: a local Kubernetes stack whose images come through caches that outlive the cluster."""

__version__ = "0.1.0"
