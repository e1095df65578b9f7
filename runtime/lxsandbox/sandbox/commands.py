"""What is asked of a sandbox when a command is started, checked; and running one to its end.

A command that outlives the call that started it is a `Process`, in a module of its own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import PurePath
from subprocess import DEVNULL, PIPE, CalledProcessError, CompletedProcess, TimeoutExpired
from typing import TYPE_CHECKING, Any, cast

from lxsandbox.arguments import check_args, check_env
from lxsandbox.errors import SandboxError, SpecError
from lxsandbox.sandbox.clock import moment_after
from lxsandbox.sandbox.path import SandboxPath
from lxsandbox.sandbox.pipes import Exchange, Pipes, open_pipes

if TYPE_CHECKING:
    from lxsandbox.sandbox.channel import CommandExit
    from lxsandbox.sandbox.control import Control

__all__ = ["Args", "Folder", "as_text", "command_fields", "input_bytes", "kill_command", "run_command"]

Args = Sequence["str | bytes | os.PathLike[str] | SandboxPath"]
Folder = str | PurePath | SandboxPath

_STDERR_NOTE_CHARACTERS = 2000


def command_fields(
    args: Args, *, env: Mapping[str, str] | None, cwd: Folder | None, user: str | int | None, pty: bool = False
) -> dict[str, Any]:
    """The fields of an `exec` request. Raises SpecError for arguments that make no sense (a string: pass a list)."""
    texts = args if isinstance(args, str | bytes) else _plain(args)
    return {
        "args": check_args(texts),
        "env": None if env is None else check_env(env),
        "cwd": None if cwd is None else _no_nul(str(cwd), "cwd"),
        "user": None if user is None else _no_nul(str(user), "user"),
        "pty": pty,
    }


def run_command(
    control: Control,
    fields: dict[str, Any],
    *,
    data: bytes | None,
    capture_output: bool,
    text: bool,
    check: bool,
    timeout: float | None,
) -> CompletedProcess[Any]:
    """Run one command to its end, as subprocess.run does; on a time-out or Ctrl-C it and its descendants are killed."""
    deadline = moment_after(timeout)
    pipes = open_pipes(DEVNULL if data is None else PIPE, *((PIPE, PIPE) if capture_output else (1, 2)))
    try:
        # Begun before the command is, so that it finds its input there.
        exchange = _exchange(pipes, data or b"")
        command = _start(control, fields, pipes, timeout)
        try:
            pipes.close_theirs()
            status = control.wait_exit(command, deadline) if exchange.run(deadline) else None
        except BaseException:
            with suppress(SandboxError, OSError):
                kill_command(control, command)
            raise
        if status is None:
            kill_command(control, command)
            exchange.drain()
        out, err = (as_text(exchange.collected(end), text) for end in (pipes.stdout, pipes.stderr))
    finally:
        pipes.close()
    return _completed(fields["args"], status, out, err, check=check, timeout=timeout)


def kill_command(control: Control, command: CommandExit) -> None:
    """Kill the command and all its descendants, and wait until it has ended. It may have ended already."""
    with suppress(ProcessLookupError):
        control.request("kill_tree", pid=command.pid)
    control.wait_exit(command, moment_after(10))


def input_bytes(data: object) -> bytes | None:
    """What is written to stdin; text as UTF-8."""
    if data is None or isinstance(data, bytes):
        return data
    if isinstance(data, str):
        return data.encode()
    if isinstance(data, bytearray):
        return bytes(data)
    raise SpecError(f"input is a {type(data).__name__}", hint="pass text or bytes")


def as_text(data: bytes | None, text: bool) -> Any:
    """The output as the caller wants it: UTF-8, with U+FFFD for what is none, and newlines as subprocess has them."""
    if data is None or not text:
        return data
    return data.decode(errors="replace").replace("\r\n", "\n").replace("\r", "\n")


def _exchange(pipes: Pipes, data: bytes) -> Exchange:
    stdin = pipes.stdin

    def close_stdin() -> None:
        if stdin is not None:
            pipes.stdin = None
            os.close(stdin)

    return Exchange(stdin, data, close_stdin, (pipes.stdout, pipes.stderr))


def _start(control: Control, fields: dict[str, Any], pipes: Pipes, timeout: float | None) -> CommandExit:
    try:
        return control.execute(pipes.theirs, timeout, **fields)[0]
    except TimeoutError:
        raise TimeoutExpired(fields["args"], timeout or 0.0) from None


def _completed(
    args: list[str], status: int | None, out: Any, err: Any, *, check: bool, timeout: float | None
) -> CompletedProcess[Any]:
    if status is None:
        raise TimeoutExpired(args, timeout or 0.0, output=out, stderr=err)
    if check and status:
        error = CalledProcessError(status, args, output=out, stderr=err)
        if err:
            tail = err if isinstance(err, str) else err.decode(errors="replace")
            error.add_note("stderr: " + tail[-_STDERR_NOTE_CHARACTERS:].rstrip())
        raise error
    return CompletedProcess(args, status, out, err)


def _plain(args: Any) -> Any:
    if not isinstance(args, Sequence):
        return args  # refused by check_args, which says how to write it
    items = list[Any](cast(Any, args))
    return [str(item) if isinstance(item, SandboxPath) else item for item in items]


def _no_nul(text: str, what: str) -> str:
    if "\0" in text or not text:
        raise SpecError(f"{what}={text!r} is empty or holds NUL")
    return text
