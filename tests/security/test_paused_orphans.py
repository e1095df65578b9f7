"""A sandbox that is paused when its service is killed cannot read its lifeline: it must end all the same."""

from __future__ import annotations

import os
import select
import signal
import tempfile

import pytest
from needs import needs

from lxsandbox.sandbox.connection import ServiceConnection
from lxsandbox.sandbox.sandbox import Sandbox
from lxsandbox.service.leftovers import remove_dead_runs
from lxsandbox.service.run_folder import let_go

_WAIT_MS = 10_000


@needs("cgroup-freezer")
def test_a_paused_sandbox_dies_with_its_service(monkeypatch: pytest.MonkeyPatch) -> None:
    base = tempfile.mkdtemp(prefix="lx-")  # short: unix(7) bounds a socket's path to 107 bytes
    monkeypatch.setenv("LXSANDBOX_RUNTIME_DIR", base)
    connection = ServiceConnection.open()
    sandbox = Sandbox(connection=connection)
    ends = [os.pidfd_open(sandbox.pid)]
    try:
        sandbox.pause()

        os.kill(connection.hello.pid, signal.SIGKILL)

        waiting = select.poll()
        waiting.register(ends[0], select.POLLIN)
        ended = bool(waiting.poll(_WAIT_MS))
        if not ended:
            signal.pidfd_send_signal(ends[0], signal.SIGKILL)  # what the test is about must not outlive it
        assert ended, "the paused init outlived its service"
    finally:
        os.close(ends[0])
        sandbox.close()
        connection.channel.close()
        if connection._process is not None:
            connection._process.wait()
        let_go(connection.folder)
        remove_dead_runs()
        os.rmdir(base)
