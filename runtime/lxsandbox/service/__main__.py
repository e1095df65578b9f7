"""Entry point: `python -P -m lxsandbox.service --folder RUN_FOLDER [--ready-fd N]`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import resource
import signal
import socket
import sys
from typing import BinaryIO

from lxsandbox.cgroups import open_tree, remove_leftovers
from lxsandbox.errors import SandboxError
from lxsandbox.service.factory import Factory
from lxsandbox.service.facts import collect_facts
from lxsandbox.service.failures import error_as_json
from lxsandbox.service.identity import choose_mapping
from lxsandbox.service.leftovers import leave_run, remove_dead_runs
from lxsandbox.service.run import Run
from lxsandbox.service.run_folder import hold, socket_path, usable
from lxsandbox.service.spawner_link import SpawnerLink

_FIRST_CLIENT_SECONDS = 30.0
_END_SECONDS = 20.0
_LAST_LOCK_SECONDS = 0.5
_BACKLOG = 128

_log = logging.getLogger("lxsandbox.service")


def main() -> int:
    """Serve one run until its last client has gone. What goes wrong at the start is one line on standard error."""
    parser = argparse.ArgumentParser(prog="lxsandbox-service")
    parser.add_argument("--folder", required=True)
    parser.add_argument("--ready-fd", type=int)
    options = parser.parse_args()
    ready = None if options.ready_fd is None else open(options.ready_fd, "wb", buffering=0)  # noqa: SIM115 - closed when told
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(message)s")
    try:
        if not hold(options.folder):
            raise SandboxError(f"the run folder {options.folder} has gone")
        asyncio.run(_serve(options.folder, ready))
    except SandboxError as error:
        print(f"{type(error).__name__}: {error.message}" + (f" ({error.hint})" if error.hint else ""), file=sys.stderr)
        _tell_failure(ready, error)
        return 1
    leave_run(options.folder, patience_seconds=_LAST_LOCK_SECONDS)
    return 0


async def _serve(folder: str, ready: BinaryIO | None) -> None:
    name = os.path.basename(folder)
    await asyncio.to_thread(remove_leftovers, name)  # of a service of this same run that was killed
    mapping = choose_mapping()
    tree = open_tree(name)
    facts = collect_facts(mapping)
    spawner = SpawnerLink(mapping, idmap=facts.idmap, descriptors=_raise_descriptors())
    try:
        await spawner.start()
        run = Run(name, Factory(folder, tree, spawner, facts, mapping))
        with usable(folder):
            listener = _listen(socket_path(folder), run)
    except BaseException:
        spawner.stop()
        await asyncio.to_thread(tree.remove)
        raise
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, run.finished.set)
    cleaning = asyncio.get_running_loop().create_task(_clean_up_after_others())
    if ready is not None:
        _tell_starter(ready, run)
    waiting = asyncio.get_running_loop().call_later(_FIRST_CLIENT_SECONDS, run.nobody_came)
    await run.finished.wait()
    waiting.cancel()
    asyncio.get_running_loop().remove_reader(listener.fileno())
    listener.close()
    with contextlib.suppress(FileNotFoundError):
        os.unlink(socket_path(folder))
    await run.close(_END_SECONDS)
    spawner.stop()
    await cleaning
    if run.images.working:
        # A thread that waits for a silent registry cannot be ended, and nobody waits for what it fetches any more. What has come
        # lies in a `.part`, and is taken up by the next run; so is what was to be removed.
        leave_run(folder, patience_seconds=_LAST_LOCK_SECONDS)
        logging.shutdown()
        os._exit(0)


def _raise_descriptors() -> tuple[int, int]:
    """Take all descriptors that this process may have: each sandbox costs five. What it had is returned, for others to have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return soft, hard


def _tell_starter(ready: BinaryIO, run: Run) -> None:
    """Tell whoever started this service that it listens; should that process end before it is a client, so does the service."""
    with ready:
        try:
            _watch_starter(run)
            ready.write(b"1")
        except (BrokenPipeError, ProcessLookupError):  # it has ended
            run.finished.set()


def _tell_failure(ready: BinaryIO | None, error: SandboxError) -> None:
    """Tell whoever waits for this service why there will be none; one that was told of the start waits no more."""
    if ready is not None and not ready.closed:
        with contextlib.suppress(BrokenPipeError), ready:
            ready.write(json.dumps(error_as_json(error)).encode())


def _watch_starter(run: Run) -> None:
    starter = os.pidfd_open(os.getppid())

    def ended() -> None:
        asyncio.get_running_loop().remove_reader(starter)
        os.close(starter)
        run.nobody_came()

    asyncio.get_running_loop().add_reader(starter, ended)


async def _clean_up_after_others() -> None:
    try:
        await asyncio.to_thread(remove_dead_runs)
    except SandboxError as error:
        _log.warning("%s", error)


def _listen(path: str, run: Run) -> socket.socket:
    try:
        os.unlink(path)  # of a service that was killed
    except FileNotFoundError:
        pass
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.setblocking(False)
    listener.bind(path)
    os.chmod(path, 0o600)
    listener.listen(_BACKLOG)
    asyncio.get_running_loop().add_reader(listener.fileno(), _accept, listener, run)
    return listener


def _accept(listener: socket.socket, run: Run) -> None:
    try:
        peer, _ = listener.accept()
    except BlockingIOError:
        return
    # unix(7) SO_PEERCRED: pid, uid, gid. The folder keeps others out; this does too.
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    if int.from_bytes(credentials[4:8], sys.byteorder) not in (os.geteuid(), 0):
        peer.close()
        return
    run.accept(peer)


if __name__ == "__main__":
    sys.exit(main())
