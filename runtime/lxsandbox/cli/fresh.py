"""A sandbox for the time of one command line, gone at its end, whatever ends it."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping
from typing import Any

from lxsandbox.cli.interrupts import raised_as_exceptions
from lxsandbox.cli.waiting import slow_notice
from lxsandbox.errors import ServiceLost
from lxsandbox.sandbox.connection import ServiceConnection
from lxsandbox.sandbox.sandbox import Sandbox

__all__ = ["fresh_sandbox"]


@contextlib.contextmanager
def fresh_sandbox(image: str, fields: Mapping[str, Any], greeting: Mapping[str, Any]) -> Generator[Sandbox]:
    """A sandbox over `image`; Ctrl-C, SIGTERM and a hang-up close it as its end does.

    `greeting` is what the service is told of how images are fetched: `pull`, `offline` and `lock` of `ServiceConnection.open`.
    """
    with raised_as_exceptions(), contextlib.ExitStack() as undo:
        with slow_notice(f"starting a sandbox over {image}"):
            connection = ServiceConnection.open(label="default", **greeting)
            undo.callback(_leave, connection)
            sandbox = undo.enter_context(Sandbox(image=image, connection=connection, **fields))
        yield sandbox


def _leave(connection: ServiceConnection) -> None:
    with contextlib.suppress(ServiceLost):
        connection.leave()
