"""Which capabilities a sandbox's processes may hold: their numbers, the default set, and the changes a spec makes to it.

The spawner imports this module, so it imports next to nothing. Setting them in a process is `syscalls`' part.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["DEFAULT", "NAMES", "NESTING", "NUMBERS", "mask", "resolve"]

# include/uapi/linux/capability.h: a name's place in this list is its number.
NAMES = (
    *("CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP"),
    *("LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER"),
    *("SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE"),
    *("SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP"),
    *("MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF"),
    "CHECKPOINT_RESTORE",
)
NUMBERS = {name: number for number, name in enumerate(NAMES)}

DEFAULT = frozenset(
    NUMBERS[name]
    for name in (
        *("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETPCAP"),
        *("SETUID", "SYS_CHROOT", "AUDIT_WRITE", "MKNOD"),
    )
)

# A process that unshares a user namespace holds every capability in there (user_namespaces(7)), and SETUID, SETGID and
# SETFCAP, needed to map several ids and id 0 into it, are default. These are for its own root's mounts, links and joins.
NESTING = frozenset(NUMBERS[name] for name in ("SYS_ADMIN", "NET_ADMIN", "NET_RAW", "SYS_PTRACE"))


def resolve(changes: Sequence[str], *, nesting: bool) -> frozenset[int]:
    """The numbers of the capabilities of a sandbox: the default set (and what nesting needs), changed in the order given.

    A change is `+NAME`, `NAME` (the same) or `-NAME`, in any case, with or without `CAP_`; the name `ALL` stands for all
    of them. Raises SpecError for a name that no kernel has.
    """
    held = set(DEFAULT | NESTING) if nesting else set(DEFAULT)
    for change in changes:
        named = _numbers_of(change)
        held = held - named if change.startswith("-") else held | named
    return frozenset(held)


def mask(numbers: Iterable[int]) -> int:
    """The set as the kernel has it in /proc/PID/status: bit n stands for capability n."""
    bits = 0
    for number in numbers:
        bits |= 1 << number
    return bits


def _numbers_of(change: str) -> set[int]:
    name = change.lstrip("+-").upper().removeprefix("CAP_")
    if name == "ALL":
        return set(NUMBERS.values())
    if name not in NUMBERS:
        _refuse(change, name)
    return {NUMBERS[name]}


def _refuse(change: str, name: str) -> None:
    import difflib  # here, since the spawner must not load `re`

    from lxsandbox.errors import SpecError

    near = difflib.get_close_matches(name, [*NAMES, "ALL"], n=3)
    choices = f"did you mean {' or '.join(near)}?" if near else f"the names are {', '.join(NAMES)} and ALL"
    raise SpecError(f"capabilities holds {change!r}, and there is no such capability", hint=f"{choices} See capabilities(7).")
