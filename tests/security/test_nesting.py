"""Classes 3, 13 and 14 of the threat model, where the user has loosened the defaults: more is allowed inside, nothing outside."""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from security.attack import attempt

from lxsandbox import Sandbox

pytestmark = [pytest.mark.security, pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers are x86_64's")]

_LOOSE: dict[str, dict[str, Any]] = {
    "nesting": {"nesting": True},
    "all capabilities": {"capabilities": ["+ALL"]},
    "all of it": {"nesting": True, "capabilities": ["+ALL"], "seccomp": "unconfined"},
}
loosened = pytest.mark.parametrize("how", _LOOSE)
_DENIED = {"EPERM", "EACCES", "EROFS", "ENOENT", "ENOSYS", "EINVAL", "EIO"}

_HELPERS = """
for path in ("kernel/core_pattern", "kernel/modprobe", "kernel/hotplug", "kernel/poweroff_cmd", "vm/drop_caches", "kernel/sysrq",
             "fs/binfmt_misc/register", "kernel/panic", "kernel/yama/ptrace_scope", "vm/swappiness", "fs/protected_symlinks"):
    for base in ("/proc/sys/", "/mnt/sys/"):
        print(tried(lambda: os.close(os.open(base + path, os.O_WRONLY))))
for path in ("/proc/sysrq-trigger", "/sys/kernel/uevent_helper", "/sys/kernel/mm/ksm/run", "/proc/kcore", "/sys/power/state",
             "/sys/devices/system/cpu/cpu1/online", "/proc/irq/default_smp_affinity"):
    print(tried(lambda: os.close(os.open(path, os.O_RDWR))))
"""


@loosened
def test_the_kernels_helpers_stay_out_of_reach(make_sandbox: Callable[..., Sandbox], how: str) -> None:
    sandbox = make_sandbox(**_LOOSE[how])

    here = attempt(sandbox, f"call(165, b'proc', b'/mnt', b'proc', 0, None)\n{_HELPERS}")
    nested = attempt(
        sandbox,
        # unshare(NEWUSER | NEWNS | NEWPID | NEWCGROUP | NEWNET); then a process of the new pid namespace, with its own /proc.
        "call(272, 0x10000000 | 0x20000 | 0x20000000 | 0x02000000 | 0x40000000)\n"
        "if pid := os.fork():\n    os.waitpid(pid, 0); sys.exit()\n"
        f"call(165, b'proc', b'/mnt', b'proc', 0, None)\n{_HELPERS}\nsys.stdout.flush()",
    )

    assert set(here.split()) <= _DENIED, here
    assert set(nested.split()) <= _DENIED, nested
    assert nested


@loosened
def test_no_control_group_file_takes_a_release_agent(make_sandbox: Callable[..., Sandbox], how: str) -> None:
    # CVE-2022-0492: a v1 hierarchy mounted in a nested user and cgroup namespace.
    before = {path: path.read_text() for path in Path("/sys/fs/cgroup").glob("*/release_agent")}
    result = attempt(
        make_sandbox(**_LOOSE[how]),
        """
        call(272, 0x10000000 | 0x20000 | 0x02000000)
        mounted = 0
        for number, options in enumerate(b"memory freezer pids cpuset rdma misc none,name=systemd none,name=new".split()):
            os.makedirs(f"/tmp/{number}", exist_ok=True)
            if call(165, b"none", f"/tmp/{number}".encode(), b"cgroup", 0, options) == "done":
                mounted += 1
                for folder, _, files in os.walk(f"/tmp/{number}"):
                    if "release_agent" in files:
                        print(tried(lambda: open(f"{folder}/release_agent", "w").write("/tmp/evil")))
        print("ENOENT")
        """,
    )

    assert set(result.split()) <= _DENIED, result
    assert {path: path.read_text() for path in before} == before


@loosened
def test_init_stays_out_of_reach(make_sandbox: Callable[..., Sandbox], how: str) -> None:
    result = attempt(
        make_sandbox(**_LOOSE[how]),
        """
        print(tried(lambda: os.close(os.open("/proc/1/mem", os.O_RDWR))), tried(lambda: open("/proc/1/environ").read(1)))
        print(tried(lambda: open("/proc/1/maps").read(1)), tried(os.listdir, "/proc/1/root"), tried(os.listdir, "/proc/1/cwd"))
        for number in range(16):
            print(tried(os.open, f"/proc/1/fd/{number}", os.O_RDONLY))
        print(call(101, 16, 1, 0, 0), call(101, 0x4206, 1, 0, 0))              # ptrace: attach, seize
        buffer = ctypes.create_string_buffer(64)
        vector = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), 64)
        print(call(310, 1, vector, 1, vector, 1, 0))                           # process_vm_readv
        init = ctypes.c_int(libc.syscall(434, 1, 0))                           # pidfd_open
        for number in range(16):
            print(call(438, init, number, 0))                                  # pidfd_getfd
        print(call(440, init, vector, 1, 21, 0))                               # process_madvise
        """,
    )

    assert set(result.split()) <= {"EPERM", "EACCES", "ENOENT", "EBADF", "EINVAL", "ENOSYS"}, result
    assert "done" not in result


@loosened
def test_devices_modules_and_the_clock_stay_the_hosts(make_sandbox: Callable[..., Sandbox], how: str) -> None:
    result = attempt(
        make_sandbox(**_LOOSE[how]),
        """
        # mem, kmsg, a disk, a loop device
        for kind, major, minor in ((0o20666, 1, 1), (0o20666, 1, 11), (0o60666, 254, 0), (0o60666, 7, 0)):
            name = f"/usr/{kind}-{major}-{minor}"
            made = tried(os.mknod, name, kind, os.makedev(major, minor))
            print(made if made != "done" else tried(os.open, name, os.O_RDWR))
        zeros = ctypes.create_string_buffer(256)
        print(call(175, zeros, 256, b""), call(313, 0, b"", 0), call(246, 0, 0, 0, 0), call(320, -1, -1, 0, b"", 0))
        print(call(227, 0, zeros), call(164, zeros, 0), call(163, b"/usr/acct"), call(167, b"/dev/zero", 0))
        print(call(304, -100, zeros, 0), call(173, 0, 1, 1), call(172, 3))
        print(call(165, b"/dev/vda", b"/mnt", b"ext4", 0, None), call(165, b"none", b"/mnt", b"debugfs", 0, None))
        """,
    )

    assert set(result.split()) <= _DENIED | {"EBADF", "ENODEV", "ENOEXEC", "EFAULT"}, result


def test_without_nesting_none_of_it_begins(sandbox: Sandbox) -> None:
    result = attempt(
        sandbox,
        """
        for flag in (0x10000000, 0x20000, 0x02000000, 0x04000000, 0x08000000, 0x20000000, 0x40000000, 0x80):
            print(call(272, flag))                                   # unshare, each namespace there is
            print(call(0x40000000 | 272, flag))                      # by the x32 entry
            if flag != 0x80:
                print(call(56, flag | 17, 0, 0, 0, 0), call(0x40000000 | 56, flag | 17, 0, 0, 0, 0))
        for kind in (b"overlay", b"tmpfs", b"proc", b"ext4", b"fuse"):
            print(call(165, b"none", b"/mnt", kind, 0, None), call(0x40000000 | 165, b"none", b"/mnt", kind, 0, None))
            print(call(430, kind, 0), call(0x40000000 | 430, kind, 0))
        print(call(432, -1, 0, 0), call(429, -1, b"", -1, b"", 0), call(442, -1, b"", 0, None, 0), call(433, -1, b"", 0))
        """,
    )

    assert set(result.split()) <= {"EPERM", "ENOSYS"}, result
