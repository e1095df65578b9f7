"""Who has a port of this host, as far as /proc tells this user."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Holder", "holder_of"]

_LISTEN, _UNCONNECTED = "0A", "07"  # include/net/tcp_states.h; the second is what proc_net_udp(5) has for one that is bound
# 127.0.0.1 in the byte order of x86 and Arm, any IPv4 address, any IPv6 address: whoever has one keeps 127.0.0.1 taken.
_ADDRESSES = {"0100007F", "7F000001", "0" * 8, "0" * 32}


@dataclass(frozen=True, kw_only=True, slots=True)
class Holder:
    """A process with a socket at that port: `pid` is None where only its user can be told."""

    user: str
    pid: int | None = None
    command: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.pid is None:
            return f"a process of user {self.user}"
        return f"process {self.pid} ({' '.join(self.command)[:100]}) of user {self.user}"


def holder_of(port: int, protocol: str) -> Holder | None:
    """The first that is found; None where nobody is."""
    for uid, inode in _sockets(port, protocol):
        user = _user(uid)
        pid = _process(f"socket:[{inode}]")
        return Holder(user=user) if pid is None else Holder(user=user, pid=pid, command=_command(pid))
    return None


def _sockets(port: int, protocol: str) -> Iterator[tuple[int, str]]:
    """Uid and inode of each that has the port, see proc_net_tcp(5)."""
    state = _UNCONNECTED if protocol == "udp" else _LISTEN
    for table in (f"/proc/net/{protocol}", f"/proc/net/{protocol}6"):
        try:
            with open(table, encoding="ascii") as file:
                lines = file.readlines()[1:]
        except OSError:
            continue  # a kernel without IPv6
        for line in lines:
            fields = line.split()
            address, _, number = fields[1].partition(":")
            if int(number, 16) == port and fields[3] == state and address in _ADDRESSES:
                yield int(fields[7]), fields[9]


def _process(link: str) -> int | None:
    """The process that has this open, of those whose descriptors this user may see."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            folder = f"/proc/{name}/fd"
            try:
                if any(_leads_to(f"{folder}/{fd}", link) for fd in os.listdir(folder)):
                    return int(name)
            except OSError:
                continue  # another user's, or it has just ended
    return None


def _leads_to(path: str, link: str) -> bool:
    try:
        return os.readlink(path) == link
    except FileNotFoundError:
        return False


def _command(pid: int) -> tuple[str, ...]:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return tuple(word.decode("utf-8", "replace") for word in file.read().rstrip(b"\0").split(b"\0"))
    except OSError:
        return ()


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
