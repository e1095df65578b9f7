"""PID 1 of a sandbox: a clone of the spawner that is never exec'ed. It builds the root, gives up its privileges, and serves.

Its control socket is its lifeline: at end-of-file it exits, and the kernel kills everything in its pid namespace.
"""
