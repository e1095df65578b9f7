"""The `Sandbox` that users hold. Each method is one question to the sandbox's init or to the service; the work is theirs."""

from __future__ import annotations

import os
import signal as signals
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import PurePosixPath
from subprocess import PIPE, CompletedProcess, TimeoutExpired
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from lxsandbox.defaults import with_defaults
from lxsandbox.errors import Death, SandboxDied, ServiceLost, SpecError
from lxsandbox.image import Image
from lxsandbox.sandbox.calls import call_function
from lxsandbox.sandbox.changes import Change, read_changes
from lxsandbox.sandbox.clock import moment_after
from lxsandbox.sandbox.commands import Args, Folder, command_fields, input_bytes, run_command
from lxsandbox.sandbox.connection import ServiceConnection, default_connection, release_default_connection
from lxsandbox.sandbox.control import Control
from lxsandbox.sandbox.copying_in import copy_in
from lxsandbox.sandbox.copying_out import copy_out
from lxsandbox.sandbox.images import asked
from lxsandbox.sandbox.network import addresses_from_wire
from lxsandbox.sandbox.own_command import OwnCommand
from lxsandbox.sandbox.path import SandboxPath
from lxsandbox.sandbox.process import Process, start_process
from lxsandbox.sandbox.reach import Reach
from lxsandbox.sandbox.stats import Stats
from lxsandbox.sandbox.waiting import Waiting
from lxsandbox.spec import SandboxSpec
from lxsandbox.units import UNLIMITED

if TYPE_CHECKING:
    from lxsandbox.sandbox.pipes import Stream

__all__ = ["Sandbox"]

_UPDATABLE = ("cpus", "io", "memory", "pids", "swap")


class Sandbox(OwnCommand, Reach, Waiting):
    """A running throwaway container; a context manager that closes it.

    `Sandbox(image="host", **fields)` takes the fields of `SandboxSpec`. Limits that are named here must hold, else
    HostUnsupported says why not. Outside pytest it starts a service of its own, shared by all sandboxes of this process and
    ended with the last of them.

    `id`, `name`, `hostname`: text. `spec`, `image`: as asked. `pid`: of the sandbox's init, on the host. `start_seconds`: how
    long the start took; `pooled`: whether it was made ahead. `unheld`: default limits that this host cannot hold. `addresses`:
    its IPv4 and IPv6 address in each network that it has joined. `death`: why it ended, None while that is not known.

    After it has died every call raises SandboxDied with the cause; ServiceLost where its service has gone.
    """

    _keep: Callable[[Sandbox], None] | None = None
    _required: frozenset[str] = frozenset()

    def __init__(self, image: str | Image = "host", *, connection: ServiceConnection | None = None, **fields: Any) -> None:
        spec, required = with_defaults(SandboxSpec.from_fields({"image": image, **fields}))
        self._start(spec, required, connection)

    @classmethod
    def from_spec(
        cls,
        spec: SandboxSpec,
        *,
        required: Collection[str] | None = None,
        connection: ServiceConnection | None = None,
        keep: Callable[[Sandbox], None] | None = None,
    ) -> Sandbox:
        """Make one as `spec` says. `required` names its limits that must hold; None: all, and defaults are added.

        `keep` gets each sandbox that is forked from it, or from those: who closes this one is to close them too.
        """
        if required is None:
            spec, required = with_defaults(spec)
        sandbox = cls.__new__(cls)
        cls._start(sandbox, spec, required, connection, keep)
        return sandbox

    @classmethod
    def attach(cls, sandbox: str, *, connection: ServiceConnection) -> Sandbox:
        """Another hold on a running sandbox, by its id or name. Closing it ends the sandbox all the same."""
        attached = cls.__new__(cls)
        answer, channel = connection.request_channel("attach", sandbox=sandbox)
        spec = answer.get("spec")
        control = Control(channel, connection, answer["sandbox"], answer["name"])
        control.paused = answer.get("state") == "paused"
        cls._adopt(attached, SandboxSpec() if spec is None else SandboxSpec.from_json(spec), answer, control)
        return attached

    def _start(
        self,
        spec: SandboxSpec,
        required: Collection[str],
        connection: ServiceConnection | None,
        keep: Callable[[Sandbox], None] | None = None,
    ) -> None:
        shares_default = connection is None
        connection = default_connection() if connection is None else connection
        try:
            answer, channel = connection.request_channel("create", spec=asked(spec), required=sorted(required))
        except BaseException:
            if shares_default:
                release_default_connection(connection)
            raise
        control = Control(channel, connection, answer["sandbox"], answer["name"])
        self._required, self._keep = frozenset(required), keep
        self._adopt(spec, answer, control, shares_default=shares_default)

    def _adopt(self, spec: SandboxSpec, answer: Mapping[str, Any], control: Control, *, shares_default: bool = False) -> None:
        self._control = control
        self._shares_default = shares_default
        self.spec = spec
        self.image = spec.image
        self.unheld = tuple(answer.get("unheld", ()))
        self.final_stats: Stats | None = None
        self._owner_pid = os.getpid()
        self._closed = False
        self._meet(answer)

    def _meet(self, answer: Mapping[str, Any]) -> None:
        self.id = str(answer["sandbox"])
        self.name = str(answer["name"])
        self.hostname = str(answer["hostname"])
        self.pid = int(answer["pid"])
        self.addresses = {name: addresses_from_wire(pair) for name, pair in answer.get("addresses", {}).items()}
        self.pooled = bool(answer.get("pooled"))
        self.start_seconds = float(answer.get("start_seconds", 0.0))
        self._stop_signal = int(answer.get("stop_signal") or signals.SIGTERM)

    def run(
        self,
        args: Args,
        *,
        input: str | bytes | None = None,  # noqa: A002  (subprocess's own names)
        capture_output: bool = True,
        text: bool = True,
        check: bool = False,
        timeout: float | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Folder | None = None,
        user: str | int | None = None,
    ) -> CompletedProcess[Any]:
        """Run a command to its end, as subprocess.run does. Its stdin is `input`, or empty.

        `env` is added to the sandbox's environment; `user` is a name, a uid or "user:group" of the sandbox. Text is UTF-8,
        what is none becomes U+FFFD. Without `capture_output` the command writes to this process's stdout and stderr.

        Raises CalledProcessError with `check`, TimeoutExpired (with what was printed) after `timeout` seconds, when the
        command and all that it started have been killed, CommandNotFound, CommandNotExecutable, and SpecError for a string.
        """
        return run_command(
            self._control,
            command_fields(args, env=env, cwd=cwd, user=user),
            data=input_bytes(input),
            capture_output=capture_output,
            text=text,
            check=check,
            timeout=timeout,
        )

    def check_output(self, args: Args, **options: Any) -> str:
        """What the command prints to stdout; takes and raises what `run` does, and CalledProcessError where it fails."""
        options.setdefault("check", True)
        out: str = self.run(args, **options).stdout
        return out

    def popen(
        self,
        args: Args,
        *,
        stdin: Stream = PIPE,
        stdout: Stream = PIPE,
        stderr: Stream = PIPE,
        text: bool = True,
        env: Mapping[str, str] | None = None,
        cwd: Folder | None = None,
        user: str | int | None = None,
        pty: bool = False,
    ) -> Process:
        """Start a command and return at once. The streams are PIPE, DEVNULL, STDOUT (stderr alone), a file or a descriptor.

        With `pty` the command gets a terminal of the sandbox, and the streams are not used. Raises as `run` does.
        """
        return start_process(
            self._control, args, stdin=stdin, stdout=stdout, stderr=stderr, text=text, env=env, cwd=cwd, user=user, pty=pty
        )

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run `function(*args, **kwargs)` inside, by this interpreter; return its value or raise its exception.

        The value must be plain data (numbers, text, bytes, lists, tuples, dicts, sets, dates, paths): a sandbox is hostile,
        and to unpickle anything more would be to run its code here. Built-in and standard exceptions, and those of the
        function's own module, come back as themselves. Raises SandboxError for any other.
        """
        return call_function(self._control, function, args, kwargs)

    def path(self, path: str | PurePosixPath) -> SandboxPath:
        """An absolute path in the sandbox."""
        return SandboxPath(self._control, path)

    def copy_in(self, src: str | os.PathLike[str], dst: str | PurePosixPath | SandboxPath) -> None:
        """Copy a file or folder of the host to `dst` inside, or into it where it is a folder. Links in it stay links."""
        copy_in(self._control, src, dst)

    def copy_out(self, src: str | PurePosixPath | SandboxPath, dst: str | os.PathLike[str]) -> None:
        """Copy a file or folder of the sandbox to `dst` on the host, or into it where it is a folder. Links in it stay links."""
        copy_out(self._control, src, dst)

    def stats(self) -> Stats:
        """What the sandbox has used so far. After `close()` the last of it is `final_stats`."""
        return Stats.from_json(self._control.service("stats")["stats"])

    def diff(self) -> list[Change]:
        """What it has changed in the root that it started from, sorted by path; it stands still while that is looked for.

        What lies on a mount of its own (/proc, /dev, a Tmpfs, a Bind of mode "ro" or "rw") is no part of the root. A folder is
        among the changes for what it is itself, not for what is in it.
        """
        return read_changes(self._control.service_fd("diff"))

    def snapshot(self, name: str | None = None) -> Image:
        """Keep what it has in its root now as an image, which `name` then stands for, whatever it stood for before.

        It stands still meanwhile. The image has a layer more than the sandbox's own, with what `diff()` lists, and the same
        settings: `env`, `command` and other fields of the spec are no part of it. Without a name it may be used as long as the
        run lasts; later `lxsandbox image prune` may remove it. Equal changes of equal images give equal digests.

        Raises ImageError for a bad name, for what no layer can hold, and for an image that is just a folder or a tar file.
        """
        return Image.from_json(self._control.service("snapshot", name=name))

    def fork(self) -> Sandbox:
        """Another sandbox with the same files: a snapshot of this one, and a sandbox of the same spec over it.

        Its main command starts anew, and so do mounts: what was written to one is there as far as `diff()` lists it. It has no
        name but its id, and its `ports` lie at free ports of the host. Close it as any other; one that is forked from a fixture's
        sandbox is closed with that. Raises as `snapshot` does.
        """
        image = self.snapshot()
        connection = None if self._shares_default else self._control.connection
        spec = replace(self.spec, image=image.reference, name=None, ports=list(self.spec.ports))
        forked = type(self).from_spec(spec, required=self._required, connection=connection, keep=self._keep)
        if self._keep is not None:
            self._keep(forked)
        return forked

    def reset(self) -> None:
        """Begin anew: from now on this is a fresh sandbox of the same spec and limits, as it was when it started.

        Everything in the old one is killed, and what was written to it is gone; the log begins anew. `id`, `pid` and, unless
        the spec has one, `hostname` are new. A command that was started before raises SandboxDied; paths stay good. One that
        was paused runs. Raises what a start raises; the old one then goes on, except where the two cannot be there at once:
        with `network="host"`, or a Bind of mode "rw".
        """
        answer, channel = self._control.service_channel("reset")
        self._control.replace(channel, answer["sandbox"], answer["name"])
        self._meet(answer)

    def update(self, **limits: Any) -> None:
        """Change limits of the running sandbox: memory, swap, cpus, pids, io, written as in the spec ("max": no bound).

        Raises SpecError for anything else, HostUnsupported where the host cannot hold one.
        """
        unknown = sorted(set(limits) - set(_UPDATABLE))
        if unknown:
            raise SpecError(f"no such limit: {', '.join(unknown)}", hint=f"a running sandbox takes {', '.join(_UPDATABLE)}")
        checked = SandboxSpec.from_fields(limits)
        changed = {name: getattr(checked, name) for name in limits}
        self._control.service("update", limits=changed)
        self.spec = replace(self.spec, **changed)
        self._required |= {name for name, value in changed.items() if value not in (None, UNLIMITED)}

    def pause(self) -> None:
        """Freeze every process in it, until `resume()`. Raises HostUnsupported where the host cannot freeze."""
        self._control.service("pause")
        self._control.paused = True

    def resume(self) -> None:
        self._control.service("resume")
        self._control.paused = False

    def kill(self, signal: int = signals.SIGKILL) -> None:
        """Send `signal` to every process in it. SIGKILL ends the sandbox; after any other it lives on."""
        if signal == signals.SIGKILL:
            self._control.death = Death(**self._control.service("kill")["death"])
        else:
            self._control.request("signal_all", signal=int(signal))

    def stop(self, timeout: float = 10) -> None:
        """End it gently: SIGTERM, or its image's own signal, to every process; SIGKILL to the rest after `timeout` seconds.

        Its main command is not started again, whatever the spec's `restart`.
        """
        main = self.main
        if self.spec.restart != "no":
            self._control.service("let_end")
        with suppress(SandboxDied):  # what was about to be started again has ended it already
            self._control.request("signal_all", signal=self._stop_signal)
        if main is None:
            self._control.channel.wait_idle(moment_after(timeout) or 0.0)
        else:
            with suppress(TimeoutExpired):
                main.wait(timeout)
        if not self._control.channel.ended:
            self.kill()

    def close(self) -> None:
        """End it at once, and free all that it held. May be called twice, and after it has died."""
        if self._closed or self._owner_pid != os.getpid():
            return  # a forked child leaves its parent's sandbox alone
        self._closed = True
        connection = self._control.connection
        try:
            with suppress(ServiceLost):  # then it has ended already
                answer = connection.request("close", sandbox=self.id)
                self.final_stats = Stats.from_json(answer["stats"])
                self._control.death = self._control.death or Death(**answer["death"])
        finally:
            self._control.death = self._control.death or Death(reason="closed")
            self._control.channel.close()
            if self._shares_default:
                release_default_connection(connection)

    @property
    def ip(self) -> str | None:
        """Its IPv4 address in the first of its networks; None where it has joined none."""
        return next((ipv4 for ipv4, _ in self.addresses.values()), None)

    @property
    def death(self) -> Death | None:
        return self._control.death

    @property
    def state(self) -> str:
        """`running`, `paused` or `exited`."""
        if self._control.death is not None or self._control.channel.ended:
            return "exited"
        return "paused" if self._control.paused else "running"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        because = f": {self.death}" if self.death else ""
        return f"<Sandbox {self.name} of {self.image}, init {self.pid}, {self.state}{because}>"
