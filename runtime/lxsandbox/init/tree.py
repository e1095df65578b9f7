"""Which processes belong to a command: its session, its descendants, and the orphans that it left to init."""

import os
import signal

__all__ = ["kill_tree", "signal_all"]

_ROUNDS = 50  # a fork bomb outruns one scan; each round kills all that the last one missed


class _Entry:
    """What /proc/PID/stat says of a process, see proc_pid_stat(5)."""

    def __init__(self, text: str) -> None:
        # The name, in parentheses, may hold anything: the fields are counted from its end.
        head, _, tail = text.rpartition(")")
        fields = tail.split()
        self.pid = int(head.partition(" ")[0])
        self.state = fields[0]
        self.parent, self.session, self.started = int(fields[1]), int(fields[3]), int(fields[19])


def _scan() -> dict[int, _Entry]:
    found: dict[int, _Entry] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                    entry = _Entry(file.read())
            except (OSError, ValueError, IndexError):
                continue  # it ended meanwhile
            found[entry.pid] = entry
    return found


def kill_tree(command: int, others: set[int]) -> None:
    """SIGKILL `command` and everything that it started; `others` are the commands that run beside it.

    An orphan that also left the session (a daemon) counts if it is younger than `command` and no other command could have
    started it. Of a command that has ended already, what is left in its session is killed.
    """
    since = None
    for _ in range(_ROUNDS):
        table = _scan()
        if since is None and command in table:
            since = table[command].started
        victims = _members(table, command, others, since)
        if not victims:
            return
        for pid in victims:
            _kill(pid, signal.SIGKILL)


def _members(table: dict[int, _Entry], command: int, others: set[int], since: int | None) -> set[int]:
    found = {pid for pid, entry in table.items() if pid == command or entry.session == command}
    if since is not None and not others:
        found |= {pid for pid, entry in table.items() if entry.parent == 1 and entry.started >= since}
    while True:
        more = {pid for pid, entry in table.items() if entry.parent in found and pid not in found}
        if not more:
            break
        found |= more
    return {pid for pid in found if pid != 1 and table[pid].state not in "ZX"}


def signal_all(number: int) -> None:
    """Signal every process of the sandbox but init."""
    try:
        os.kill(-1, number)
    except ProcessLookupError:
        pass  # there is none


def _kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
