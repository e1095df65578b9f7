"""Waiting until something is true in a sandbox, in the service's event loop: no thread and no process waits for it.

`wait` is what the rest of the service uses; each kind of condition has a module of its own, `Watch` is what they have in common.
"""

from lxsandbox.service.readiness.wait import Readiness

__all__ = ["Readiness"]
