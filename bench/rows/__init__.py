"""What is measured, a module for each kind: each takes a `Bench` and gives sections of the report."""
