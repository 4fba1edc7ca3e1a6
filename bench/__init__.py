"""Side-by-side benchmarks: the engine, its peers and no cache at all, over one slowed origin, in one run.

Run by `make bench`, never by the tests' clock. It uses the engine as users do, by its command line and its ports, and
the demo's origin and images, so that what is measured here is what the demo shows. Linux only: the clients let the
kernel drop what they receive, and processes are read in /proc.
"""
