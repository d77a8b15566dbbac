"""Servers that play CVAT on real sockets, for the demo, the tests and the benchmarks.

No product module imports this package.
"""
