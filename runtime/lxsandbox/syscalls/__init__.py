"""System calls that Python's os module lacks, each raising OSError when it fails.

One function per call, named like the call; what to call when is decided in the layers above. Imports ctypes and os only: the
spawner loads this package, and everything that it loads is copied into each sandbox's init.
"""
