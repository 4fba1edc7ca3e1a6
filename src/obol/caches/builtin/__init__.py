"""The builtin engine: a background process of this machine."""
