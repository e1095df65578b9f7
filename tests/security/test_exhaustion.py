"""Class 19 of the threat model: a sandbox uses up all it can, and the others and the host go on."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from subprocess import DEVNULL, TimeoutExpired

import pytest
from needs import needs
from security.attack import attempt

from lxsandbox import Sandbox, SandboxError

pytestmark = pytest.mark.security

Make = Callable[..., Sandbox]
_MEMORY = "96M"


def _others_go_on(other: Sandbox) -> None:
    assert other.run(["sh", "-c", "echo well"], timeout=20).stdout == "well\n"
    with open(os.devnull, "rb"):
        threading.Thread(target=int).start()


@needs("cgroup-pids")
@pytest.mark.parametrize("bomb", ["processes", "threads", "orphans"])
def test_a_fork_bomb_meets_its_limit(make_sandbox: Make, bomb: str) -> None:
    sandbox, other = make_sandbox(pids=60), make_sandbox()
    code = {
        "processes": "while True:\n    try: os.fork()\n    except OSError: print(1, flush=True); signal.pause()",
        "threads": "try:\n    while True: threading.Thread(target=signal.pause, daemon=True).start()\n"
        "except RuntimeError: print(1)",
        "orphans": "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\nfailed = 0\nwhile failed < 20:\n"
        "    try:\n        if os.fork() == 0: os.setsid(); os.fork(); signal.sigtimedwait([1], 0.05); os._exit(0)\n"
        "    except OSError: failed += 1\nprint(1)",
    }[bomb]

    with sandbox.popen([sys.executable, "-S", "-c", f"import os, signal, threading\n{code}"], stderr=DEVNULL) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "1\n", "the limit was not met: the attempt was none"
        _others_go_on(other)
        assert (sandbox.stats().pids or 0) <= 61  # init is one of them
        first.kill()
    sandbox.kill()
    _others_go_on(other)


@needs("cgroup-memory")
@pytest.mark.parametrize("where", ["heap", "/tmp", "/dev/shm", "pipes", "many small processes"])
def test_memory_that_is_used_up_costs_the_sandbox_alone(make_sandbox: Make, where: str) -> None:
    sandbox, other = make_sandbox(memory=_MEMORY, disk="4G", pids=400), make_sandbox()
    code = {
        "heap": "x = []\nwhile True: x.append(b'x' * (1 << 20))",
        "pipes": "import fcntl\nx = []\nwhile True:\n    x.append(os.pipe()); os.set_blocking(x[-1][1], False)\n"
        "    try: os.write(x[-1][1], b'x' * 65536)\n    except BlockingIOError: pass",
        "many small processes": "for _ in range(350):\n    if os.fork() == 0: x = b'x' * (1 << 20); signal.pause()\n"
        "signal.pause()",
    }.get(where, f"with open('{where}/x', 'wb') as f:\n    while True: f.write(b'x' * (1 << 20))")

    with sandbox.popen([sys.executable, "-S", "-c", f"import os, signal\n{code}"], stderr=DEVNULL) as bomb:
        if where == "many small processes":
            while not sandbox.stats().oom_kills:
                _others_go_on(other)
            sandbox.run(["sh", "-c", "kill -9 -1"])
        with suppress(TimeoutExpired):
            bomb.wait(20)

    _others_go_on(other)
    assert (sandbox.stats().memory_peak_bytes or 0) <= 100 << 20
    assert sandbox.run(["rm", "-f", "/tmp/x", "/dev/shm/x"], timeout=20).returncode == 0, "init was what the kernel chose"


@needs("cgroup-memory")
def test_init_is_not_chosen_when_memory_runs_out_for_a_command_with_limits(make_sandbox: Make) -> None:
    sandbox = make_sandbox(memory=_MEMORY, rlimits={"nofile": 64})  # takes another way to start a command

    done = sandbox.run([sys.executable, "-S", "-c", "x = []\nwhile True: x.append(b'x' * (1 << 20))"])

    assert done.returncode == -signal.SIGKILL
    # Raised by init once the command has been exec'ed.
    assert attempt(sandbox, "while open('/proc/self/oom_score_adj').read() != '1000\\n': pass") == ""


@pytest.mark.parametrize("place", ["/", "/tmp", "/var", "/dev", "/dev/shm", "/run"])
def test_a_disk_filler_and_an_inode_filler_get_enospc(make_sandbox: Make, place: str) -> None:
    sandbox, other = make_sandbox(disk="8M"), make_sandbox()

    result = attempt(
        sandbox,
        f"""
        os.makedirs("{place}/filled", exist_ok=True)
        def fill():
            with open("{place}/filled/x", "wb", buffering=0) as file:
                while file.tell() < 1 << 30:
                    file.write(bytes(65536))
        print(tried(fill))
        os.unlink("{place}/filled/x")
        def make():
            for number in range(100_000):
                os.close(os.open(f"{place}/filled/{{number}}", os.O_CREAT | os.O_WRONLY))
        print(tried(make))
        """,
    )

    assert set(result.split()) <= {"ENOSPC", "EDQUOT"}, result
    _others_go_on(other)
    assert sandbox.run(["rm", "-r", f"{place}/filled"], timeout=20).returncode == 0


@needs("cgroup-memory")
def test_descriptors_and_connections_run_out_inside_alone(make_sandbox: Make) -> None:
    sandbox, other = make_sandbox(memory=_MEMORY, pids=40), make_sandbox()
    code = """
import os, resource, signal, socket
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
server = socket.create_server(("127.0.0.1", 0), backlog=65535)
for _ in range(20):
    if os.fork() == 0:
        break
held = []
try:
    for number in range(1_000_000):
        held.append(socket.create_connection(server.getsockname(), timeout=1) if number % 2 else open("/dev/null"))
except OSError:
    os.write(1, b".")
signal.pause()
"""
    with sandbox.popen([sys.executable, "-S", "-c", code], text=False, stderr=DEVNULL) as bomb:
        assert bomb.stdout is not None
        bomb.stdout.read(1)  # the first has had enough, or the kernel has ended them all
        _others_go_on(other)
        with suppress(SandboxError):
            sandbox.kill()
    _others_go_on(other)


def test_a_flood_of_output_stays_bounded(make_sandbox: Make) -> None:
    sandbox = make_sandbox(command=["sh", "-c", "yes flood | head -c 50000000; echo last; exec sleep 600"])
    while not sandbox.logs().endswith("last\n"):
        assert len(sandbox.logs()) <= (1 << 20) + 65536

    assert len(sandbox.logs()) <= (1 << 20) + 65536


def test_nothing_inside_can_end_stop_or_flood_init(sandbox: Sandbox) -> None:
    result = attempt(
        sandbox,
        """
        import signal
        for number in range(1, 65):
            if number not in (32, 33):  # the C library's own
                print(tried(os.kill, 1, number))
        for _ in range(20000):
            os.kill(1, signal.SIGCHLD)
        """,
    )

    assert set(result.split()) == {"done"}
    assert sandbox.check_output(["echo", "alive"], timeout=20) == "alive\n"


def test_deep_and_odd_trees_are_refused_and_cost_nothing_else(make_sandbox: Make, tmp_path: Path) -> None:
    sandbox = make_sandbox(disk="32M", scratch="memory")
    attempt(
        sandbox,
        """
        os.mkdir("/tmp/deep"); os.chdir("/tmp/deep")
        for _ in range(3000):
            os.mkdir("d"); os.chdir("d")
        os.mkdir("/tmp/odd"); os.chdir(b"/tmp/odd")
        for name in (b"\\xff\\xfe", b"new\\nline", b"\\x1b[2J", b"-rf", b" "):
            os.mkdir(name)
        os.chmod("/tmp/odd", 0)
        """,
    )

    with pytest.raises((OSError, SandboxError)):
        sandbox.copy_out("/tmp/deep", tmp_path / "deep")
    assert {path.name for path in sandbox.path("/tmp/odd").iterdir()} >= {"-rf", " ", "new\nline"}
