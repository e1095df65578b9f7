"""Starting the user's commands, waiting for them, and signalling them with all that they started."""

import errno
import fcntl
import json
import os
import resource
import signal
import struct
import termios

from lxsandbox.init.users import Account, UnknownUser, look_up
from lxsandbox.syscalls.files import openat2

TYPE_CHECKING = False  # the spawner loads this module
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Commands", "Refused"]

# No limit of its own takes init: whatever the user runs is what the OOM killer must choose, see proc_pid_oom_score_adj(5).
_OOM_SCORE = b"1000"
_DEFAULT_SIGNALS = [signal.SIGPIPE, signal.SIGXFSZ]  # what Python ignores and exec would pass on
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_TIOCGPTPEER = 0x5441  # ioctl_tty(2): the slave of this master, by descriptor and not by path


class Refused(Exception):
    """A request that cannot be done, as the error of its reply."""

    def __init__(self, kind: str, message: str, hint: str = "", **data: "Any") -> None:
        super().__init__(message)
        self.error = {"kind": kind, "message": message, "hint": hint, **data}


class Commands:
    """The processes that init started, and the base that they start from."""

    def __init__(self, root: int, go: "dict[str, Any]") -> None:
        self.root = root
        self.env: dict[str, str] = go["env"]
        self.cwd: str = go["cwd"]
        self.user: str = go["user"]
        self.rlimits: dict[str, int] = go["rlimits"]
        self.single_id: bool = go["single_id"]
        self.running: dict[int, Any] = {}

    def start(self, request: "dict[str, Any]", stdio: list[int], owner: "Any") -> int:
        """Start a command with `stdio` as its descriptors 0 to 2 and return its pid. Raises Refused or OSError."""
        account = self._account(request.get("user"))
        env: dict[str, str] = {
            "PATH": _DEFAULT_PATH,
            "HOME": account.home,
            "USER": account.name,
            **self.env,
            **(request.get("env") or {}),
        }
        args: list[str] = request["args"]
        cwd = request.get("cwd") or self.cwd
        if account.uid == 0 and account.gid == 0 and not account.groups and not self.rlimits and not request.get("pty"):
            pid = self._spawn(args, env, cwd, stdio)
        else:
            pid = self._fork(args, env, cwd, stdio, account, bool(request.get("pty")))
        self.running[pid] = owner
        return pid

    def _account(self, user: str | None) -> Account:
        text = user or self.user
        if text == "0" or (text == "root" and self.single_id):
            return Account("root", 0, 0, [], "/root")
        try:
            account = look_up(self.root, text)
        except UnknownUser as error:
            raise Refused("SpecError", str(error), 'use a user of the image, a uid, or "uid:gid"') from error
        if self.single_id and (account.uid, account.gid) != (0, 0):
            hint = "install newuidmap (package uidmap) and give this user a range in /etc/subuid and /etc/subgid"
            raise Refused(
                "HostUnsupported", f"user {text!r} needs more ids than the one that this host maps", hint, capability="sub-ids"
            )
        account.groups = [] if self.single_id else account.groups
        return account

    def _spawn(self, args: list[str], env: dict[str, str], cwd: str, stdio: list[int]) -> int:
        """As root with no more to set up: posix_spawn, which does not copy init's memory."""
        path = self._find(args[0], env["PATH"])
        folder = self._open_folder(cwd)
        try:
            os.fchdir(folder)
            actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(stdio)]
            pid = os.posix_spawn(path, args, env, file_actions=actions, setsid=True, setsigdef=_DEFAULT_SIGNALS, setsigmask=())
        except OSError as error:
            raise _not_started(args[0], error) from error
        finally:
            os.fchdir(self.root)
            os.close(folder)
        _raise_oom_score(f"/proc/{pid}/oom_score_adj")
        return pid

    def _fork(self, args: list[str], env: dict[str, str], cwd: str, stdio: list[int], account: Account, pty: bool) -> int:
        report, result = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            try:
                self._become(stdio, account, pty)
                os.fchdir(self._open_folder(cwd))
                os.execve(self._find(args[0], env["PATH"]), args, env)
            except Refused as refused:
                os.write(result, json.dumps(refused.error).encode())
            except OSError as error:
                os.write(result, json.dumps(_not_started(args[0], error).error).encode())
            finally:
                os._exit(127)
        os.close(result)
        failure = os.read(report, 4096)
        os.close(report)
        if failure:
            os.waitpid(pid, 0)
            raise Refused(**json.loads(failure))
        # Not by the child before its exec: /proc/PID of what is not dumpable belongs to the host's root, see proc(5).
        _raise_oom_score(f"/proc/{pid}/oom_score_adj")
        return pid

    def _become(self, stdio: list[int], account: Account, pty: bool) -> None:
        """In the child: take the descriptors, the terminal, the limits and the ids that the command is to have."""
        os.setsid()
        for number, fd in enumerate(stdio):
            os.dup2(fd, number)
        if pty:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        for default in _DEFAULT_SIGNALS:
            signal.signal(default, signal.SIG_DFL)
        for name, value in self.rlimits.items():
            _set_rlimit(name, value)
        if not self.single_id:
            os.setgroups(account.groups)
            os.setresgid(account.gid, account.gid, account.gid)
            os.setresuid(account.uid, account.uid, account.uid)

    def _open_folder(self, cwd: str) -> int:
        try:
            return openat2(self.root, cwd, os.O_PATH | os.O_DIRECTORY)
        except OSError as error:
            kind = "CommandNotExecutable" if error.errno in (errno.EACCES, errno.EPERM) else "CommandNotFound"
            message = f"the folder to start in, cwd={cwd!r}, cannot be entered: {os.strerror(error.errno or 0)}"
            raise Refused(kind, message, "make it first, or name one that exists in the image", errno=error.errno) from error

    def _find(self, name: str, path: str) -> str:
        """The file that `name` stands for, looked up in `path` as execvp(3) does. Raises Refused with kind 127 or 126."""
        if not name:
            raise Refused("CommandNotFound", "there is no command ''", "name a program", errno=errno.ENOENT)
        if "/" in name:
            return name
        denied = False
        for folder in path.split(":"):
            candidate = f"{folder or '.'}/{name}"
            try:
                mode = os.stat(candidate).st_mode
            except OSError:
                continue
            if mode & 0o170000 == 0o100000 and mode & 0o111:
                return candidate
            denied = True
        if denied:
            raise Refused(
                "CommandNotExecutable", f"{name!r} in the sandbox's PATH is not executable", "chmod +x it", errno=errno.EACCES
            )
        message = f"no {name!r} in the sandbox's PATH ({path})"
        raise Refused("CommandNotFound", message, "install it in the image, or give its full path", errno=errno.ENOENT)

    def open_terminal(self) -> tuple[int, int]:
        """A new pseudo-terminal of the sandbox: (master, slave). Raises Refused where /dev/ptmx is not the kernel's."""
        master = openat2(self.root, "/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY, links=False)
        if os.fstat(master).st_rdev != os.makedev(5, 2):
            os.close(master)
            raise Refused("SandboxError", "the sandbox's /dev/pts/ptmx is not a terminal multiplexer any more")
        fcntl.ioctl(master, 0x40045431, struct.pack("i", 0))  # TIOCSPTLCK: unlock
        return master, fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)

    def reap(self) -> "list[tuple[int, int, Any]]":
        """All children that have ended, as (pid, return code as subprocess has it, owner); orphans are reaped in silence."""
        ended: list[tuple[int, int, Any]] = []
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return ended
            if pid == 0:
                return ended
            if pid in self.running:
                ended.append((pid, os.waitstatus_to_exitcode(status), self.running.pop(pid)))

    def signal(self, pid: int, number: int, *, group: bool) -> None:
        """Signal one command, or its process group. A command that has ended is no error."""
        if pid not in self.running:
            return
        try:
            os.killpg(pid, number) if group else os.kill(pid, number)
        except ProcessLookupError:
            pass


def _raise_oom_score(path: str) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return  # it has ended already
    try:
        os.write(fd, _OOM_SCORE)
    except OSError:
        pass
    finally:
        os.close(fd)


def _set_rlimit(name: str, value: int) -> None:
    kind: int = getattr(resource, f"RLIMIT_{name.upper()}")
    try:
        resource.setrlimit(kind, (value, value))
    except ValueError as error:
        # Raising a hard limit takes CAP_SYS_RESOURCE over the host, which nothing in a sandbox has.
        message = f"rlimits={{{name!r}: {value}}} is above this host's hard limit of {resource.getrlimit(kind)[1]}"
        raise Refused(
            "HostUnsupported", message, "ask for less, or raise the limit where pytest is started", capability="rlimits"
        ) from error


def _not_started(name: str, error: OSError) -> Refused:
    number = error.errno or 0
    if number in (errno.ENOENT, errno.ENOTDIR):
        hint = "check the path, and that its interpreter or loader is in the image too"
        return Refused("CommandNotFound", f"{name!r} does not exist in the sandbox", hint, errno=number)
    if number in (errno.EACCES, errno.EPERM, errno.ENOEXEC, errno.EISDIR):
        hint = "chmod +x it, or start it by its interpreter"
        return Refused("CommandNotExecutable", f"{name!r} cannot be executed: {os.strerror(number)}", hint, errno=number)
    return Refused("OSError", f"{name!r} was not started: {os.strerror(number)}", errno=number, filename=name)
