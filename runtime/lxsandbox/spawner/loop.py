"""The spawner's loop: clone an init, map its ids, pass back its pidfd.

It answers one request at a time, in order. Its children are the service's (CLONE_PARENT): when the spawner dies, sandboxes go on.
"""

import os
import select
import signal
import socket
import sys

from lxsandbox import wire
from lxsandbox.init import main as init
from lxsandbox.rootfs.removal import remove_tree
from lxsandbox.spawner.sharing import share_memory
from lxsandbox.syscalls import clone, mounts
from lxsandbox.syscalls.files import close_all_but

TYPE_CHECKING = False  # typing is not loaded in the spawner
if TYPE_CHECKING:
    from typing import Any

__all__ = ["main"]

_NAMESPACES = (
    clone.CLONE_NEWUSER | clone.CLONE_NEWNS | clone.CLONE_NEWPID | clone.CLONE_NEWIPC | clone.CLONE_NEWUTS
)  # fmt: skip


class Spawner:
    """The service's end of the line, and what can be asked over it."""

    def __init__(self, service: socket.socket) -> None:
        self.service = service

    def prepare(self, request: "dict[str, Any]", _: list[int]) -> "tuple[dict[str, Any], list[int]]":
        """Take the ids of root; with `idmap`, the answer brings a user namespace with the run's mapping."""
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        return {"pid": os.getpid()}, [_user_namespace(request["map"])] if request["idmap"] else []

    def clone(self, request: "dict[str, Any]", fds: list[int]) -> "tuple[dict[str, Any], list[int]]":
        """A new init, blank. `fds`: its control socket, then the cgroup to clone into, where there is one."""
        control, *cgroup = fds
        mapped_read, mapped_write = os.pipe2(os.O_CLOEXEC)
        try:
            flags = _NAMESPACES | clone.CLONE_PARENT | (clone.CLONE_NEWNET if request["own_network"] else 0)
            pid, pidfd = clone.clone3(flags, cgroup_fd=cgroup[0] if cgroup else None)
            if pid == 0:
                _be_init(request, control, mapped_read)
            try:
                _write_maps(pid, request["map"])
            except OSError:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                os.close(pidfd)
                raise
            os.write(mapped_write, b"1")
            return {"pid": pid}, [pidfd]
        finally:
            os.close(mapped_read)
            os.close(mapped_write)

    def remove(self, request: "dict[str, Any]", _: list[int]) -> "tuple[dict[str, Any], list[int]]":
        """A child that removes a folder which sandboxes wrote to, with the ids that they had; it exits 0 when all has gone."""
        pid, pidfd = clone.clone3(clone.CLONE_PARENT)
        if pid == 0:
            _remove(request["path"])
        return {"pid": pid}, [pidfd]

    def unpack(self, request: "dict[str, Any]", fds: list[int]) -> "tuple[dict[str, Any], list[int]]":
        """A child that unpacks the tar stream `fds[0]` into a folder; it exits 0 when done, else `fds[1]` says why."""
        pid, pidfd = clone.clone3(clone.CLONE_PARENT)
        if pid == 0:
            _unpack(fds[0], fds[1], request["path"], request["form"])
        return {"pid": pid}, [pidfd]

    def inherit(self, request: "dict[str, Any]", fds: list[int]) -> "tuple[dict[str, Any], list[int]]":
        """A child that makes what layers inherit from lower ones in a folder; it exits 0 when done, else `fds[0]` says why."""
        pid, pidfd = clone.clone3(clone.CLONE_PARENT)
        if pid == 0:
            _inherit(fds[0], request["layers"], request["path"])
        return {"pid": pid}, [pidfd]

    def pack(self, request: "dict[str, Any]", fds: list[int]) -> "tuple[dict[str, Any], list[int]]":
        """A child that writes what has changed in a sandbox to `fds[0]`; it exits 0 when done, else `fds[1]` says why.

        The rest of `fds` is as `images.pack.pack` has it.
        """
        pid, pidfd = clone.clone3(clone.CLONE_PARENT)
        if pid == 0:
            _pack(request, fds[0], fds[1], fds[2:])
        return {"pid": pid}, [pidfd]

    def hub(self, request: "dict[str, Any]", fds: list[int]) -> "tuple[dict[str, Any], list[int]]":
        """The run's hub, in a network namespace of its own below this user namespace; `fds[0]` is its control socket."""
        pid, pidfd = clone.clone3(clone.CLONE_PARENT | clone.CLONE_NEWNET)
        if pid == 0:
            _become_hub(fds[0], request["path"])
        return {"pid": pid}, [pidfd]

    def _next(self) -> "tuple[wire.Message, list[int]] | None":
        try:
            return wire.receive(self.service)
        except ConnectionResetError:
            return None  # the service was killed with something unread

    def _told(self, answer: "dict[str, Any]", passed: list[int]) -> bool:
        try:
            wire.send(self.service, answer, passed)
        except (BrokenPipeError, ConnectionResetError):
            return False  # the service was killed meanwhile; an init made for it ends with its own socket
        return True

    def serve(self) -> None:
        """Answer requests until the service closes its end."""
        operations = {
            "prepare": self.prepare,
            "clone": self.clone,
            "remove": self.remove,
            "unpack": self.unpack,
            "inherit": self.inherit,
            "pack": self.pack,
            "hub": self.hub,
        }
        while (received := self._next()) is not None:
            request, fds = received
            answer: dict[str, Any] = {"id": request["id"]}
            passed: list[int] = []
            try:
                done = operations[request["op"]](request, fds)
                answer["ok"], passed = done if isinstance(done, tuple) else (done, [])
            except OSError as error:
                answer["error"] = {"kind": "OSError", "errno": error.errno, "message": str(error), "filename": error.filename}
            if not self._told(answer, passed):
                return
            for fd in (*fds, *passed):
                os.close(fd)


def _be_init(request: "dict[str, Any]", control: int, mapped: int) -> None:
    """In the clone: be the sandbox's PID 1, and end without anything of the spawner's being run twice."""
    status = 1
    try:
        init.run(request, control, mapped)
        status = 0
    finally:
        os._exit(status)


def _remove(path: str) -> None:
    """In the clone: remove, and end."""
    status = 1
    try:
        parent, name = os.path.split(path)
        remove_tree(os.open(parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC), name)
        status = 0
    finally:
        os._exit(status)


def _unpack(stream: int, report: int, path: str, form: str) -> None:
    """In the clone: unpack, say what went wrong, and end."""
    status = 1
    try:
        from lxsandbox.images.unpack import unpack  # it would be in every init

        close_all_but([0, 1, 2, stream, report])
        unpack(stream, path, form=form)
        status = 0
    except Exception as error:  # noqa: BLE001 - the archive is hostile, and the report is the error's way out
        os.write(report, str(error).encode("utf-8", "replace")[:4096])
    finally:
        os._exit(status)


def _inherit(report: int, layers: list[str], path: str) -> None:
    """In the clone: make the folders, say what went wrong, and end."""
    status = 1
    try:
        from lxsandbox.images.unpack import inherit

        close_all_but([0, 1, 2, report])
        inherit(layers, path)
        status = 0
    except Exception as error:  # noqa: BLE001 - the layers are hostile, and the report is the error's way out
        os.write(report, str(error).encode("utf-8", "replace")[:4096])
    finally:
        os._exit(status)


def _pack(request: "dict[str, Any]", sink: int, report: int, fds: list[int]) -> None:
    """In the clone: pack, say what went wrong, and end."""
    status = 1
    try:
        from lxsandbox.images.pack import pack  # before it is in the sandbox's user namespace, where it may read nothing

        close_all_but([0, 1, 2, sink, report, *fds])
        pack(request, sink, fds)
        status = 0
    except Exception as error:  # noqa: BLE001 - what is packed is hostile, and the report is the error's way out
        os.write(report, str(error).encode("utf-8", "replace")[:4096])
    finally:
        os._exit(status)


def _become_hub(control: int, path: str) -> None:
    """In the clone: be another program, which is none of the spawner's business, with the import path `path`."""
    try:
        close_all_but([0, 1, 2, control])
        os.set_inheritable(control, True)
        command = [sys.executable, "-P", "-S", "-m", "lxsandbox.hub", str(control)]
        os.execve(command[0], command, {"PYTHONPATH": path, "PATH": os.defpath, "LC_ALL": "C.UTF-8"})
    finally:
        os._exit(127)


def _write_maps(pid: int, id_map: str) -> None:
    for name in ("uid_map", "gid_map"):
        fd = os.open(f"/proc/{pid}/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, id_map.encode())
        finally:
            os.close(fd)


def _user_namespace(id_map: str) -> int:
    """A descriptor of a user namespace with this mapping, which no process is in."""
    pid, pidfd = clone.clone3(clone.CLONE_NEWUSER, exit_signal=signal.SIGCHLD)
    if pid == 0:
        signal.pause()
        os._exit(0)
    try:
        _write_maps(pid, id_map)
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(pidfd)


def _wake(*_: object) -> None:
    """A handler must be there for the wake-up descriptor of init to be written to."""


def main(service_fd: int, mode: str) -> None:
    """Be the spawner of the service at the other end of `service_fd`; the modes are those of the command line."""
    for number in range(1, 32):
        if number not in (signal.SIGKILL, signal.SIGSTOP):  # what nohup(1) or a CI agent ignores, a sandbox shall not
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, _wake)  # of every init to come: done once, and here
    service = socket.socket(fileno=service_fd)
    service.set_inheritable(False)
    if mode == "unshare":
        try:
            clone.unshare(clone.CLONE_NEWUSER | clone.CLONE_NEWNS)
            mounts.set_propagation_private()
        except OSError as error:
            wire.send(service, {"event": "refused", "message": error.strerror})
            return
        # The service maps this process's ids now: newuidmap must run outside of the new namespace.
        wire.send(service, {"event": "unshared"})
        select.select([service], [], [])  # its first request comes when it has; the one that follows reads it
        _start_again_read_only(service)
    elif mode.startswith("join:"):
        _join(service, int(mode.removeprefix("join:")))
    elif mode == "mapped":
        mounts.detach(os.path.realpath(sys.executable))
    share_memory()
    Spawner(service).serve()


def _join(service: socket.socket, userns: int) -> None:
    """Take the place of a spawner that has died, in its user namespace: what it made, others know as below that one."""
    try:
        clone.setns(userns, clone.CLONE_NEWUSER)
        os.close(userns)
        clone.unshare(clone.CLONE_NEWNS)
        mounts.set_propagation_private()
    except OSError as error:
        wire.send(service, {"event": "refused", "message": error.strerror})
        os._exit(1)
    _start_again_read_only(service)


def _start_again_read_only(service: socket.socket) -> None:
    """Become the spawner again, with an interpreter that is executed from a read-only mount of its file.

    A script in a sandbox whose first line is `#!/proc/self/exe` runs this very file, beside its root. Where it belongs to the
    user, as in a virtual environment, it could else change its mode, and on kernels that allow it its content (CVE-2019-5736).
    """
    # On the file's own path, since a loader finds libraries relative to it; it is detached once they have been loaded.
    place = os.open(os.path.realpath(sys.executable), os.O_PATH | os.O_CLOEXEC)
    tree = mounts.open_tree("", at=place)
    mounts.mount_setattr(tree, set_=mounts.MOUNT_ATTR_RDONLY | mounts.MOUNT_ATTR_NOSUID)
    mounts.move_mount(tree, place)
    # Mapped by now, and root of the namespace: its capabilities outlast the exec.
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    service.set_inheritable(True)
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:-1], "mapped"])
