"""The default filter on the real kernel: root with every capability tries, and only the filter stands between."""

import errno
import os
import platform
import struct
import sys

import pyseccomp
import pytest
from needs import needs

ALLOW_ALL = struct.pack("=HBBI", 0x06, 0, 0, 0x7FFF0000)  # return SECCOMP_RET_ALLOW
EPERM, ENOSYS = errno.EPERM, errno.ENOSYS
AF_ALG, AF_VSOCK, AF_BLUETOOTH = 38, 40, 31
CLONE_NEWUSER, SIGCHLD = 0x10000000, 17
TIOCSTI, TIOCLINUX, TIOCGWINSZ = 0x5412, 0x541C, 0x5413
HIGH = 1 << 32

needs_x86_64 = pytest.mark.skipif(platform.machine() != "x86_64", reason="x32 is an ABI of x86_64")


@pytest.fixture
def _i386_entry(confined):
    """Skips where there is no `int 0x80`: on another machine, or a kernel without CONFIG_IA32_EMULATION."""
    if platform.machine() != "x86_64" or not confined(ALLOW_ALL).survives(["i386", 20]):
        pytest.skip("this kernel takes no i386 calls")


def call(name: str, *arguments: int) -> list[object]:
    number = pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name)
    return ["native", number, *arguments]


def i386_call(name: str, *arguments: int) -> list[object]:
    return ["i386", pyseccomp.resolve_syscall(pyseccomp.Arch.X86, name), *arguments]


DENIED = [
    *("mount", "umount2", "pivot_root", "fsopen", "fsconfig", "fsmount", "fspick", "move_mount", "open_tree", "mount_setattr"),
    *("unshare", "setns", "keyctl", "add_key", "request_key", "bpf", "perf_event_open", "userfaultfd", "open_by_handle_at"),
    *("io_uring_setup", "io_uring_enter", "io_uring_register", "kexec_load", "init_module", "finit_module", "delete_module"),
    *("swapon", "swapoff", "quotactl", "acct", "clock_settime", "settimeofday", "syslog", "sethostname", "setdomainname"),
    *("fanotify_init", "kcmp"),
]


# reboot and vhangup are left to the machine in test_seccomp_compile: a filter with a hole would end this host's day.
@pytest.mark.parametrize("name", DENIED)
def test_a_call_that_reaches_the_host_is_denied(confined, compiled, name):
    assert confined(compiled()).errnos(call(name)) == [EPERM]


def test_a_call_that_nobody_knows_is_unknown(confined, compiled):
    assert confined(compiled()).errnos(["native", 1023], ["native", 400_000], call("clone3")) == [ENOSYS] * 3


@pytest.mark.parametrize("family", [AF_ALG, AF_VSOCK, AF_BLUETOOTH, AF_VSOCK | HIGH])
def test_a_socket_family_outside_the_namespaces_is_denied(confined, compiled, family):
    assert confined(compiled()).errnos(call("socket", family, 1, 0), call("socketpair", family, 1, 0, 0)) == [EPERM] * 2


def test_ordinary_sockets_work(confined, compiled):
    families = [call("socket", family, 1, 0) for family in (1, 2, 10)]

    assert confined(compiled()).errnos(*families, call("socket", 16, 3, 0)) == [0] * 4


def test_typing_into_the_terminal_is_denied_also_with_high_bits_set(confined, compiled):
    master, terminal = os.openpty()
    try:
        attempts = [call("ioctl", 0, request | high, 0) for request in (TIOCSTI, TIOCLINUX) for high in (0, HIGH, 1 << 63)]
        assert confined(compiled()).errnos(*attempts) == [EPERM] * 6
        assert confined(compiled()).output(sys.executable, "-c", _WINDOW_SIZE) == "0 0\n"
    finally:
        os.close(master)
        os.close(terminal)


_WINDOW_SIZE = """
import os
master, terminal = os.openpty()
print(*os.get_terminal_size(terminal))
"""


def test_clone_makes_no_namespace(confined, compiled):
    namespaces = (0x20000, 0x02000000, 0x04000000, 0x08000000, CLONE_NEWUSER, 0x20000000, 0x40000000)
    attempts = [call("clone", flag | SIGCHLD | high, 0, 0, 0, 0) for flag in namespaces for high in (0, HIGH)]

    assert confined(compiled()).errnos(*attempts) == [EPERM] * len(attempts)


def test_personality_takes_the_harmless_values_only(confined, compiled):
    read_implies_exec = 0x0400000

    assert confined(compiled()).errnos(call("personality", 0xFFFFFFFF), call("personality", read_implies_exec)) == [0, EPERM]


@needs_x86_64
def test_x32_calls_are_unknown(confined, compiled):
    x32 = 0x40000000
    attempts = [["native", x32 | 39], ["native", x32 | 165], ["native", x32 | 16, 0, TIOCSTI]]  # getpid, mount, ioctl

    assert confined(compiled()).errnos(*attempts) == [ENOSYS] * 3


@pytest.mark.usefixtures("_i386_entry")
def test_the_i386_entry_is_no_way_round_the_filter(confined, compiled):
    denied = [i386_call(name) for name in DENIED]
    arguments = [
        i386_call("ioctl", 0, TIOCSTI),
        i386_call("clone", CLONE_NEWUSER | SIGCHLD),
        i386_call("umount"),
        i386_call("stime"),
        ["i386", 359, AF_VSOCK, 1, 0],
        ["i386", 359, AF_ALG, 1, 0],
    ]
    socketcall = ["i386", 102, 1, 0, 0]

    assert confined(compiled()).errnos(*denied, *arguments, socketcall) == [EPERM] * (len(denied) + len(arguments)) + [ENOSYS]


@pytest.mark.usefixtures("_i386_entry")
def test_ordinary_i386_calls_work(confined, compiled):
    assert confined(compiled()).errnos(i386_call("getpid"), i386_call("getuid32"), ["i386", 359, 2, 1, 0]) == [0] * 3


def test_programs_work(confined, compiled):
    sandbox = confined(compiled())

    assert "bin" in sandbox.output("ls", "-la", "/")
    assert sandbox.output("sh", "-c", "echo one | cat | wc -l").strip() == "1"
    assert sandbox.output(sys.executable, "-c", _BUSY_PROGRAM) == "threads 4, child 7, sum 6, process 1\n"


_BUSY_PROGRAM = """
import asyncio, subprocess, sys, threading, multiprocessing, mmap, tempfile, os, signal
done = []
threads = [threading.Thread(target=done.append, args=(n,)) for n in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
child = subprocess.run([sys.executable, "-S", "-c", "raise SystemExit(7)"]).returncode
async def main():
    server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    await reader.read(); writer.close(); server.close()
    process = await asyncio.create_subprocess_exec("true")
    await process.wait()
asyncio.run(main())
with tempfile.TemporaryFile() as file:
    file.write(bytes(9)); file.flush()
    mmap.mmap(file.fileno(), 9).close()
with multiprocessing.get_context("fork").Pool(2) as pool:
    total = sum(pool.map(abs, [1, -2, 3]))
pid = os.fork()
if not pid:
    os._exit(1)
print(f"threads {len(done)}, child {child}, sum {total}, process {os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}")
"""


@needs("git")
def test_git_works(confined, compiled, tmp_path):
    assert "Initialized" in confined(compiled()).output("git", "init", str(tmp_path / "repository"))


@needs("unshare")
def test_nesting_opens_namespaces_and_mounts_and_nothing_else(confined, compiled):
    sandbox = confined(compiled(nesting=True))
    still_denied = ["bpf", "perf_event_open", "userfaultfd", "open_by_handle_at", "io_uring_setup", "kexec_load", "init_module"]

    assert sandbox.output("unshare", "-Urmupf", "sh", "-c", "mount -t tmpfs none /tmp && hostname inside || echo failed") == ""
    assert sandbox.errnos(*map(call, still_denied)) == [EPERM] * len(still_denied)
    assert sandbox.errnos(call("ioctl", 0, TIOCSTI, 0), call("socket", AF_VSOCK, 1, 0)) == [EPERM] * 2
    assert ENOSYS not in sandbox.errnos(call("clone3"))


@needs("root")
def test_a_capability_opens_its_calls(confined, compiled):
    # With no argument these fail in the kernel, in another way than by EPERM: root holds every capability here.
    assert EPERM not in confined(compiled("+SYS_PTRACE", "+DAC_READ_SEARCH")).errnos(call("kcmp"), call("open_by_handle_at"))
    assert EPERM not in confined(compiled("+SYS_ADMIN")).errnos(call("mount"), call("fsopen"))


def test_a_dropped_capability_closes_its_calls(confined, compiled):
    assert confined(compiled("-SYS_CHROOT")).errnos(call("chroot")) == [EPERM]
    assert confined(compiled()).errnos(call("chroot")) == [errno.EFAULT]
