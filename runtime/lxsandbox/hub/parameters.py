"""Kernel parameters of the network that this process is in now, see ip-sysctl of the kernel's documentation.

Below a read-only /proc/sys they stay as they are: then a sandbox asks for routes that nobody gives it, and cannot ping.
"""

import os

__all__ = ["allow_echo", "refuse_advertisements"]

_ECHO = "/proc/sys/net/ipv4/ping_group_range"
# As it is in a new network: from group 1 to group 0. Who is in a user namespace without these sees what stands for such groups.
_NOBODY = (b"1\t0", b"65534\t65534")
# Of all groups that this user namespace has: of the host's root, of a range of ids, of a single one.
_EVERYBODY = (b"0 4294967294", b"0 65535", b"0 0")


def refuse_advertisements() -> None:
    """Nobody but the hub says what addresses and routes there are; nobody is asked for them either."""
    _write("/proc/sys/net/ipv6/conf/default/accept_ra", b"0")  # of links to come


def allow_echo() -> None:
    """Let everybody ping (icmp(7)), which takes no capability then; unless the sandbox has been given a range of its own."""
    try:
        with open(_ECHO, "rb", buffering=0) as file:
            given = file.read(64).strip() not in _NOBODY
    except OSError:
        return
    if not given:
        any(_write(_ECHO, groups) for groups in _EVERYBODY)


def _write(path: str, value: bytes) -> bool:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.write(fd, value) > 0
    except OSError:
        return False
    finally:
        os.close(fd)
