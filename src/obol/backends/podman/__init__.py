"""The backend podman: the stack as pods, without Kubernetes."""
