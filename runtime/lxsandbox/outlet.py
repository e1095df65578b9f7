"""The programs that carry what leaves the sandboxes to the host's network, and how each is told what we want of it.

slirp4netns comes first: it says refused where a server refuses (pasta of 2023 is silent, and connecting takes its time-out), its
uploads have a steady pace, and it ends by itself with who started it. pasta is faster at downloads, and what newer systems have.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["DEVICE", "NAMES", "TAP", "Program", "complaint_in", "found_programs", "host_has_ipv6"]

DEVICE = "/dev/net/tun"
NAMES = ("slirp4netns", "pasta")
# A Debian user's PATH lacks the sbin folders.
_SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")
TAP = "outlet0"
_MTU = "65520"
_LINES_TOLD = 3
# The last of the networks of `service.addresses`: slirp4netns' own 10.0.2.0/24 would hide one that the host may have.
_NETWORK4, _GUEST4 = "10.255.252", "100"
_SLIRP6 = "fd00::"  # slirp4netns has no option for another
_PASTA6 = "fd6c:7873:fffe::"


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """One of them: its addresses on the tap, and `ipv6` only where it can carry that."""

    name: str
    path: str
    ipv4: str
    gateway4: str
    ipv6: str | None
    gateway6: str | None

    def command(self, holder: int, *, as_root: bool, lifeline: int) -> list[str]:
        """Its command line. Descriptor 0 is the network namespace that the tap is to be in, 1 its user namespace.

        Both are those of the process `holder`, whose paths below /proc are closed to a program that has given up root's rights.
        It ends, where it can, when the other end of the pipe `lifeline` is closed.
        """
        return [self.path, *(self._slirp(holder, as_root, lifeline) if self.name == "slirp4netns" else self._pasta(as_root))]

    def _slirp(self, holder: int, as_root: bool, lifeline: int) -> list[str]:
        # What parses the packets of a sandbox has no rights and sees no files (Podman starts it so too).
        arguments = ["--enable-sandbox", "--enable-seccomp", "--disable-host-loopback", "--disable-dns"]
        arguments += [f"--mtu={_MTU}", f"--cidr={_NETWORK4}.0/24"]
        arguments += ["--enable-ipv6"] if self.ipv6 else []
        # Given paths, it does not enter the user namespace for its sandbox, and may not make one then.
        where = ["--netns-type=path", "/proc/self/fd/0"] if as_root else [str(holder)]
        return [*arguments, f"--exit-fd={lifeline}", *where, TAP]

    def _pasta(self, as_root: bool) -> list[str]:
        # As root it would become nobody, who may not enter the namespace. It gives up all rights but those it needs anyway.
        who = ["--runas", "0", "--netns-only"] if as_root else ["--userns", "/proc/self/fd/1"]
        closed = [part for option in ("-t", "-u", "-T", "-U") for part in (option, "none")]
        given = ["-a", self.ipv4, "-n", "24", "-g", self.gateway4]
        given += ["-a", self.ipv6, "-g", self.gateway6] if self.ipv6 and self.gateway6 else ["-4"]
        off = ["--no-map-gw", "--no-dhcp", "--no-dhcpv6", "--no-ra"]
        return ["-f", "-q", *who, *closed, *given, *off, "-m", _MTU, "-I", TAP, "--netns", "/proc/self/fd/0"]


def found_programs() -> list[Program]:
    """Those that this host has, in the order in which they are tried; LXSANDBOX_OUTLET has one of them tried alone."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *_SYSTEM_FOLDERS])
    routes = _ipv6_routes()
    wanted = os.environ.get("LXSANDBOX_OUTLET")
    found = [(name, shutil.which(name, path=path)) for name in NAMES if wanted in (None, "", name)]
    return [_program(name, place, routes) for name, place in found if place is not None]


def _program(name: str, path: str, routes: Sequence[tuple[str, int]]) -> Program:
    own = _SLIRP6 if name == "slirp4netns" else _PASTA6
    # Where the host has slirp4netns' network for itself, what is in it could not be reached: better no IPv6 at all.
    taken = any(bits and prefix.startswith(_plain(own)[:16]) for prefix, bits in routes)
    ipv6 = host_has_ipv6(routes) and not taken
    gateway = "2" if name == "slirp4netns" else "1"
    return Program(
        name=name,
        path=path,
        ipv4=f"{_NETWORK4}.{_GUEST4}",
        gateway4=f"{_NETWORK4}.{gateway}",
        ipv6=f"{own}{_GUEST4}" if ipv6 else None,
        gateway6=f"{own}{gateway}" if ipv6 else None,
    )


def _plain(address: str) -> str:
    """A prefix as /proc/net/ipv6_route writes it."""
    groups = [group.rjust(4, "0") for group in address.removesuffix("::").split(":")]
    return "".join(groups).ljust(32, "0")


def _ipv6_routes() -> list[tuple[str, int]]:
    """Where the host's routes go: the prefix in hexadecimal, and how many of its bits count."""
    try:
        with open("/proc/net/ipv6_route", encoding="ascii") as file:
            fields = [line.split() for line in file]
    except OSError:
        return []
    return [(each[0], int(each[1], 16)) for each in fields if each[-1] != "lo"]


def complaint_in(said: bytes) -> str:
    """What a program that has ended complained of; empty where it said nothing of use."""
    lines = [line.strip() for line in said.decode(errors="replace").splitlines()]
    return "; ".join([line for line in lines if line and "syslog" not in line and "tapfd=" not in line][-_LINES_TOLD:])


def host_has_ipv6(routes: Sequence[tuple[str, int]] | None = None) -> bool:
    """Whether there is a way to the rest of the world by IPv6."""
    return any(bits == 0 for _, bits in (_ipv6_routes() if routes is None else routes))
