"""The end of a child, waited for by descriptor: Popen.wait(timeout) looks again and again instead, up to 50 ms late."""

import os
import select

__all__ = ["ended_within"]


def ended_within(pid: int, seconds: float) -> bool:
    """Whether the child has ended, or does so within these seconds; its status is left to whoever reaps it."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True  # somebody has reaped it
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        return bool(poll.poll(seconds * 1000))
    finally:
        os.close(fd)
