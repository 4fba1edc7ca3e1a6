"""The computer: time, tasks, files, ports and child processes, each behind a small port with a fake.

Called by everyone above. It knows nothing of registries or clusters.
"""
