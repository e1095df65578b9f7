"""Classes 1 to 3, 12 and 16 of the threat model: init, descriptors, privileges, terminals."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from subprocess import PIPE

import pytest
from needs import needs
from security.attack import attempt

from lxsandbox import Sandbox

pytestmark = pytest.mark.security

_PUSH_KEYS = """
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
byte = ctypes.create_string_buffer(b"x")
for request in (0x5412, 0x541C, 0x5412 | 1 << 32, 0x541C | 1 << 40):  # TIOCSTI, TIOCLINUX, and with high bits set
    ctypes.set_errno(0)
    libc.syscall(ctypes.c_long(16), 0, ctypes.c_ulong(request), byte)
    print(errno.errorcode.get(ctypes.get_errno(), "done"), flush=True)
"""


def test_root_inside_cannot_write_to_the_binary_that_init_runs(sandbox: Sandbox) -> None:
    interpreter = Path(os.path.realpath(sys.executable))
    before = hashlib.sha256(interpreter.read_bytes()).hexdigest()

    result = attempt(
        sandbox,
        """
        print(tried(open, "/proc/1/exe", "r+b"), tried(open, "/proc/1/exe", "rb"))
        print(tried(lambda: os.open("/proc/self/exe", os.O_WRONLY)))
        """,
    )

    assert "done" not in result
    assert hashlib.sha256(interpreter.read_bytes()).hexdigest() == before


def test_no_descriptor_of_init_is_a_way_to_another_folder(sandbox: Sandbox) -> None:
    for number in (*range(3, 30), 100, 1023):
        with pytest.raises(FileNotFoundError):
            sandbox.run(["true"], cwd=f"/proc/self/fd/{number}")
    with pytest.raises(FileNotFoundError):
        sandbox.run(["true"], cwd="/proc/1/root")


def test_a_command_has_no_descriptor_but_its_three(sandbox: Sandbox) -> None:
    with sandbox.popen(["cat"], stdin=PIPE, stdout=PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("loaded\n")
        process.stdin.flush()
        process.stdout.readline()  # until it answers, its loader may have a library open
        shown = sandbox.check_output(["ls", f"/proc/{process.pid}/fd"])
        process.kill()

    assert shown.split() == ["0", "1", "2"]


def test_init_can_be_neither_traced_nor_read_nor_entered(sandbox: Sandbox) -> None:
    result = attempt(
        sandbox,
        """
        PTRACE_ATTACH, SEIZE = 16, 0x4206
        for request in (PTRACE_ATTACH, SEIZE):
            ctypes.set_errno(0)
            print("done" if libc.ptrace(request, 1, 0, 0) >= 0 else errno.errorcode[ctypes.get_errno()])
        for name in ("mem", "environ", "maps", "root/etc", "cwd/etc", "ns/mnt", "syscall", "stack"):
            path = f"/proc/1/{name}"
            print(tried(os.listdir if name in ("root/etc", "cwd/etc") else lambda p: open(p, "rb").read(1), path))
        for number in range(64):  # by name it may be seen that there are some, never what they are or what is behind
            print(tried(os.readlink, f"/proc/1/fd/{number}"), tried(open, f"/proc/1/fd/{number}", "rb"))
        """,
    )

    assert set(result.split()) <= {"EPERM", "EACCES", "EIO", "ENOENT"}, result


def test_inheritable_and_ambient_capabilities_are_empty(sandbox: Sandbox) -> None:
    status = dict(line.split(":\t", 1) for line in sandbox.run(["cat", "/proc/self/status"]).stdout.splitlines() if ":\t" in line)

    assert int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0
    assert int(status["CapPrm"], 16) == int(status["CapBnd"], 16) == 0xA80405FB  # the thirteen of the default set
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"


@needs("id-range")
def test_a_setuid_binary_gains_nothing(sandbox: Sandbox) -> None:
    make = "cp /bin/cat /tmp/cat; chmod 4755 /tmp/cat; echo x > /tmp/secret; chmod 600 /tmp/secret"
    sandbox.run(["sh", "-c", make], check=True)

    assert "Permission denied" in sandbox.run(["/tmp/cat", "/tmp/secret"], user="65533:65533").stderr


def test_keys_cannot_be_pushed_into_a_terminal(sandbox: Sandbox) -> None:
    shown = b""
    with sandbox.popen([sys.executable, "-S", "-c", _PUSH_KEYS], pty=True) as process:
        assert process.terminal is not None
        try:
            while block := process.terminal.read(4096):
                shown += block
        except OSError:
            pass  # a terminal whose last writer has gone reads as EIO

    assert shown.split() == [b"EPERM"] * 4
