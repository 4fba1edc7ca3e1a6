"""The backend k3s: a cluster on this machine, as root."""
