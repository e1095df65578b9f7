"""One sandbox as the service sees it, from the clone to the last trace of it gone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections import deque
from dataclasses import asdict
from typing import Any

from lxsandbox import errors, wire
from lxsandbox.cgroups import Cgroup, Counters
from lxsandbox.errors import Death, SandboxDied, SandboxError
from lxsandbox.rootfs.plan import Plan
from lxsandbox.rootfs.trees import open_trees
from lxsandbox.service.failures import explain
from lxsandbox.service.logs import Log
from lxsandbox.service.main_command import MainCommand
from lxsandbox.service.prepared import Prepared
from lxsandbox.service.shapes import Shape
from lxsandbox.service.sockets import MessageSocket
from lxsandbox.spec import Limits, SandboxSpec

__all__ = ["Box"]

_DEADLINE_SECONDS = 30.0


class Box:
    """A sandbox: its init, its group, its state.

    `state` goes from `blank` (an init in its namespaces and its group) over `parked` (it has its root, and waits for its spec)
    to `running` or `paused`, and ends as `exited`.
    """

    def __init__(self, name: str, cgroup: Cgroup) -> None:
        self.id = name
        self.name = name
        self.cgroup = cgroup
        self.limits = Limits(swap_bytes=None)
        self.scratch: str | None = None
        self.spec = SandboxSpec()
        self.state = "blank"
        self.owner: object | None = None
        self.line = name  # the same for all that take each other's place by a reset
        self.created = time.time()
        self.pid = -1
        self.log: Log | None = None
        self.peak_bytes: int | None = None
        self.made: Prepared | None = None  # once it has been started: what it was made by
        self.root = Plan()  # what its root was made by, and the files that init wrote into it then
        self.files: list[tuple[str, str, int]] = []
        self.uppers: list[int] = []  # once they are held: descriptors of the folders that take what is written to its root
        self.moving = asyncio.Lock()  # held by who freezes it or lets it go on, or needs it to stay as it is
        self.ending_since = 0.0  # by the clock of the event loop; for the count of leaks
        self.addresses: dict[str, tuple[str, str | None]] = {}  # IPv4 and IPv6, by the networks that it has joined
        self._counters = Counters()
        loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[Death] = loop.create_future()
        self._pidfd = -1
        self._message: wire.Message | None = None  # what init was told last to become
        self._channel: socket.socket | None = None  # the client's end of its first channel, until the client has it
        self.frozen = False  # or about to be
        self._mounts = -1  # of one that ends: keeps its mounts until its processes have gone
        self._counted = False
        self._reason: Death | None = None
        self._events: deque[wire.Message] = deque()
        self._event: asyncio.Future[None] = loop.create_future()  # done while there are events
        self._answers: dict[int, asyncio.Future[tuple[wire.Message, list[int]]]] = {}
        self._next = 0
        self._timer: asyncio.TimerHandle | None = None
        self.main = MainCommand(self)
        ours, self.init_end = wire.pair()
        self._control = MessageSocket(ours, self._told, lambda: None)

    def cloned(self, pid: int, pidfd: int) -> None:
        """The spawner has made init: watch for its end."""
        self.pid, self._pidfd = pid, pidfd
        self.init_end.close()
        asyncio.get_running_loop().add_reader(pidfd, self._init_ended)

    def _told(self, message: wire.Message, fds: list[int]) -> None:
        if message.get("event") == "main_ended":
            self.main.ended(message["status"], message["start"])
        elif "event" in message:
            self._events.append(message)
            if not self._event.done():
                self._event.set_result(None)
        elif (answer := self._answers.pop(message.get("id", -1), None)) is not None and not answer.done():
            answer.set_result((message, fds))
            return
        for fd in fds:
            os.close(fd)

    async def _next_event(self, expected: str) -> None:
        await _first_of(self._event, self.ended)
        if self._events:
            message = self._events.popleft()
            if not self._events:
                self._event = asyncio.get_running_loop().create_future()
            if message["event"] == expected:
                return
            raise explain(message["error"], self.spec)
        if self.ended.done():
            death = self.ended.result()
            hint = "ask for more memory=" if death.reason == "oom" else ""
            raise SandboxError(f"sandbox {self.id} died while it started: {death}", hint=hint)
        raise SandboxError(f"sandbox {self.id} was not {expected} within {_DEADLINE_SECONDS:.0f} s")

    def plan(self, shape: Shape, seccomp: int, userns: int | None) -> None:
        """Tell a blank init to make the root of this shape, and to give up its privileges. Raises OSError, SandboxError."""
        self.spec = shape.spec
        self.root = made = shape.plan(self.id, self.scratch)
        confine = shape.confinement(self.id, made)
        self.files = confine["files"]
        request = {"steps": made.steps, "trees": made.trees, "confine": confine}
        if userns is not None and len(made.trees) + 2 > wire.MAX_FDS:  # with the filter's, and that of a long message
            raise SandboxError(
                f"the root of a sandbox has {wire.MAX_FDS - 2} parts at most, and this has {len(made.trees)} layers and mounts",
                hint="make an image of fewer layers of it, or mount fewer folders",
            )
        trees = open_trees(made.trees, userns) if userns is not None else []
        try:
            self._control.send(request, [seccomp, *trees])
        finally:
            for fd in trees:
                os.close(fd)

    async def built(self) -> None:
        """Wait until it has. Raises what kept it from that."""
        await self._next_event("built")
        self.state = "parked"

    def prime(self, message: wire.Message) -> None:
        """Tell a parked init ahead what most likely it shall become: then nobody has to wake it up when it is taken."""
        self._channel, theirs = wire.pair()
        with theirs:
            self._go(message, theirs)

    def start(self, made: Prepared) -> None:
        """Have a parked init, or one that builds its root, become what `made` says."""
        self.made = made
        self.spec = made.spec
        self.name = made.spec.name or self.id
        self.main.begin(made.spec.restart)
        if self._message is None:
            self.prime(made.message)
        elif self._message != made.message:
            self._go(made.message)

    def hand_over(self) -> socket.socket:
        """The client's end of the first channel to init, the caller's from now on."""
        channel, self._channel = self._channel, None
        assert channel is not None
        return channel

    def _go(self, message: wire.Message, *channel: socket.socket) -> None:
        self._message = message
        self.log = Log() if message["main"] else None
        null = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
        self._control.send(message, [self.log.write_fd if self.log else null, *(each.fileno() for each in channel)])
        os.close(null)
        if self.log:
            self.log.given_away()

    async def started(self) -> None:
        """Wait for its main command, where there is one, to have started. Raises what kept it from that."""
        if self.log is not None:
            await self._next_event("ready")
        self.state = "running"
        self.main.go_on()
        if self.spec.timeout is not None:
            death = Death(reason="timeout", timeout_seconds=self.spec.timeout)
            self._timer = asyncio.get_running_loop().call_later(self.spec.timeout, self.end, death)

    @property
    def stop_signal(self) -> int | None:
        """The signal by which its image wants to be stopped."""
        return None if self._message is None else self._message.get("stop_signal")

    async def ask(self, op: str, fds: tuple[int, ...] = (), **fields: Any) -> tuple[wire.Message, list[int]]:
        """A request to init. Raises SandboxDied when there is none any more."""
        if self.state not in ("running", "paused"):
            raise SandboxDied(self.name, await self.ended)
        self._next += 1
        key = self._next
        answer: asyncio.Future[tuple[wire.Message, list[int]]] = asyncio.get_running_loop().create_future()
        self._answers[key] = answer
        self._control.send({"id": key, "op": op, **fields}, fds)
        try:
            await _first_of(answer, self.ended)
        finally:
            self._answers.pop(key, None)  # of an answer that comes later, the descriptors are closed
        if not answer.done() or answer.cancelled():
            if self.ended.done():
                raise SandboxDied(self.name, self.ended.result())
            raise SandboxError(f"sandbox {self.name} does not answer")
        message, passed = answer.result()
        if "error" in message:
            error = message["error"]
            raise getattr(errors, error["kind"], SandboxError)(error["message"], hint=error.get("hint", ""))
        return message, passed

    def lend_channel(self) -> socket.socket:
        """A channel to init, the caller's from now on. Init has it once it reads on, which one that is paused does later."""
        ours, theirs = wire.pair()
        with theirs:
            self._control.send({"id": 0, "op": "channel"}, [theirs.fileno()])
        return ours

    async def hold_uppers(self) -> None:
        """Get hold of `uppers`. Before it is frozen: then init answers nothing. Raises SandboxDied."""
        if not self.uppers:
            _, self.uppers = await self.ask("uppers")

    async def freeze(self) -> None:
        """Stop everything in it. Raises SandboxError when that cannot be done in time."""
        self.frozen = True
        try:
            await asyncio.to_thread(self.cgroup.freeze)
        except BaseException:
            self.frozen = False
            self.main.go_on()
            raise
        if self.ending:
            self.thaw()  # it was told to meanwhile, and what is frozen does not

    def thaw(self) -> None:
        """Let everything in it go on."""
        self.frozen = False
        if not self.ended.done():
            self.cgroup.thaw()
            self.main.go_on()

    @property
    def ending(self) -> bool:
        """Whether it has been asked to end, or has ended."""
        return self._reason is not None or self.ended.done()

    def end(self, death: Death) -> None:
        """Kill everything in the sandbox, for the reason given; the first reason is the one that counts."""
        if self._reason is None:
            self._reason = death
            self.ending_since = asyncio.get_running_loop().time()
        if self._pidfd >= 0:
            self._hold_mounts()
            try:
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            except ProcessLookupError:
                pass
            if self.frozen:
                self.thaw()  # frozen tasks of v1 do not die
        elif not self.ended.done():
            self._finish(death)

    def _hold_mounts(self) -> None:
        """Take a hold of its mount namespace: its end would else keep init, and whoever waits for init, for a while."""
        if self._mounts < 0:
            with contextlib.suppress(OSError):
                self._mounts = os.open(f"/proc/{self.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)

    def let_go(self) -> None:
        """Of one that has ended: close what the service holds of it, once those who waited for the end have been told."""
        self._control.close()
        self.init_end.close()
        if self._channel is not None:
            self._channel.close()
        if self.log is not None:
            self.log.close()

    def let_mounts_go(self) -> None:
        """Of one that has ended: let the kernel take its mounts down, which takes a fraction of a millisecond."""
        held, self._mounts, self.uppers = [self._mounts, *self.uppers], -1, []
        for fd in held:
            if fd >= 0:
                os.close(fd)

    def count_last(self) -> None:
        """Take the last figures of one that was told to end now, while the kernel works on it."""
        if not self.ended.done():
            self._count()
            self._counted = True

    async def wait_ended(self, deadline_seconds: float) -> Death:
        """Why it has ended, once it has. Raises SandboxError, with what it waits for, when that does not come in time."""
        await asyncio.wait((self.ended,), timeout=deadline_seconds)
        if not self.ended.done():
            stuck = [f"{pid} ({_wait_channel(pid)})" for pid in self.cgroup.members()] or [str(self.pid)]
            raise SandboxError(
                f"sandbox {self.name} was killed {deadline_seconds:.0f} s ago and has not ended: process {', '.join(stuck)}",
                hint="the kernel holds it in an uninterruptible wait; it goes when that ends",
            )
        return self.ended.result()

    def _init_ended(self) -> None:
        """The kernel has ended init, and with it everything in its pid namespace."""
        if self._reason is None:
            self._control.read_rest()  # its last words come before the news of its end
        asyncio.get_running_loop().remove_reader(self._pidfd)
        result = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
        os.close(self._pidfd)
        self._pidfd = -1
        status = result.si_status if result is not None else 0
        self._finish(self._reason or Death(reason="signal", signal=status))

    def _finish(self, death: Death) -> None:
        self.state = "exited"
        self.main.sandbox_ended()
        if self._timer is not None:
            self._timer.cancel()
        self.ended.set_result(self._with_evidence(death))
        for answer in self._answers.values():
            answer.cancel()

    def _with_evidence(self, death: Death) -> Death:
        counters = self._counters if self._counted else self._count()
        data: dict[str, Any] = asdict(death) | {
            "log_tail": self.log.tail() if self.log else "",
            "restarts": self.main.restarts,
        }
        if counters.oom_kills and (death.signal == signal.SIGKILL or death.exit_code in (137, 255)):
            data |= {
                "reason": "oom",
                "memory_limit_bytes": self.limits.memory_bytes,
                "memory_peak_bytes": counters.memory_peak_bytes,
            }
        return Death(**data)

    def stats(self) -> dict[str, Any]:
        """The figures now, as `Stats` has them; of a sandbox that has ended, the last ones."""
        if not self.ended.done():
            self._count()
        return asdict(self._counters)

    def _count(self) -> Counters:
        self._counters = self.cgroup.counters()
        self.peak_bytes = self._counters.memory_peak_bytes
        return self._counters

    def describe(self) -> dict[str, Any]:
        """A row of `lxsandbox ps`."""
        return {
            "id": self.id,
            "name": self.name,
            "image": self.spec.image,
            "state": self.state,
            "pid": self.pid,
            "restarts": self.main.restarts,
            "created": self.created,
            "memory_bytes": self.stats()["memory_bytes"],
            "labels": dict(self.spec.labels),
            "networks": dict(self.addresses),
            "command": [*(self.spec.entrypoint or ()), *(self.spec.command or ())],
        }


async def _first_of(*futures: asyncio.Future[Any]) -> None:
    """Wait until one of them is done, or the deadline is over."""
    await asyncio.wait(futures, timeout=_DEADLINE_SECONDS, return_when=asyncio.FIRST_COMPLETED)


def _wait_channel(pid: int) -> str:
    """The kernel function that a process sleeps in, see proc_pid_wchan(5)."""
    try:
        with open(f"/proc/{pid}/wchan", encoding="ascii") as file:
            return file.read() or "running"
    except OSError:
        return "gone"
