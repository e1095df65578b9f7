"""Classes 13 to 15 of the threat model: what of the kernel root inside can reach."""

from __future__ import annotations

import platform
from collections.abc import Callable

import pytest
from needs import needs
from security.attack import attempt

from lxsandbox import Sandbox

pytestmark = [pytest.mark.security, pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers are x86_64's")]


def test_kernel_helpers_cannot_be_replaced(sandbox: Sandbox) -> None:
    result = attempt(
        sandbox,
        """
        for path in ("/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/sys/kernel/uevent_helper",
                     "/proc/sysrq-trigger", "/proc/sys/kernel/hotplug", "/proc/sys/vm/overcommit_memory",
                     "/proc/sys/fs/binfmt_misc/register", "/proc/irq/default_smp_affinity"):
            print(tried(lambda: os.close(os.open(path, os.O_WRONLY))))
        """,
    )

    assert set(result.split()) <= {"EROFS", "EACCES", "EPERM", "ENOENT"}, result


def test_nothing_can_be_mounted_and_no_namespace_made(sandbox: Sandbox) -> None:
    result = attempt(
        sandbox,
        """
        print(call(165, b"none", b"/mnt", b"tmpfs", 0, None))          # mount
        print(call(165, b"none", b"/mnt", b"cgroup", 0, b"memory"))    # release_agent lives in one
        print(call(165, b"none", b"/mnt", b"binfmt_misc", 0, None))
        print(call(166, b"/proc/sys", 2))                              # umount2: uncover what is masked
        print(call(155, b"/", b"/"))                                   # pivot_root
        print(call(272, 0x10000000), call(272, 0x20000))               # unshare user, mount
        print(call(308, 0, 0))                                         # setns
        print(call(430, b"overlay", 0), call(428, -100, b"/", 1))      # fsopen, open_tree
        print(call(56, 0x10000000 | 17, 0, 0, 0, 0))                   # clone with a user namespace
        """,
    )

    assert set(result.split()) <= {"EPERM", "ENOSYS"}, result


def test_clone3_is_not_there_so_that_its_flags_need_no_check(sandbox: Sandbox) -> None:
    assert attempt(sandbox, "print(call(435, ctypes.create_string_buffer(88), 88))") == "ENOSYS"


def test_dangerous_calls_are_denied(sandbox: Sandbox) -> None:
    result = attempt(
        sandbox,
        """
        print(call(304, -100, ctypes.create_string_buffer(64), 0))                       # open_by_handle_at
        print(call(250, 0, -3, 0, 0, 0), call(248, b"user", b"x", b"y", 1, -3))          # keyctl, add_key
        print(call(425, 8, ctypes.create_string_buffer(256)))                            # io_uring_setup
        print(call(323, 0), call(321, 0, ctypes.create_string_buffer(128), 128))         # userfaultfd, bpf
        print(call(298, ctypes.create_string_buffer(128), 0, -1, -1, 0))                 # perf_event_open
        print(call(246, 0, 0, 0, 0), call(175, 0, 0, b""), call(169, 0, 0, 0, 0))        # kexec_load, init_module, reboot
        print(call(167, b"/x", 0), call(103, 3, 0, 0))                                   # swapon, syslog
        """,
    )

    assert set(result.split()) <= {"EPERM", "ENOSYS"}, result


def test_socket_families_that_reach_the_kernel_or_the_host_are_denied(sandbox: Sandbox) -> None:
    result = attempt(
        sandbox,
        """
        for family in (40, 38, 17, 15, 31, 30):  # VSOCK, ALG, PACKET, KEY, BLUETOOTH, TIPC
            print(tried(socket.socket, family, socket.SOCK_SEQPACKET if family != 17 else socket.SOCK_RAW))
        print(tried(socket.socket, socket.AF_INET, socket.SOCK_RAW, 1))
        """,
    )

    assert set(result.split()) <= {"EPERM", "EACCES", "EAFNOSUPPORT", "ESOCKTNOSUPPORT"}, result


def test_a_device_that_is_made_cannot_be_opened(sandbox: Sandbox) -> None:
    result = attempt(
        sandbox,
        """
        made = tried(os.mknod, "/tmp/disk", 0o60600, os.makedev(254, 0))
        print(made if made != "done" else tried(open, "/tmp/disk", "rb"))
        """,
    )

    assert result in ("EPERM", "EACCES")


def test_masked_files_show_nothing_of_the_host(sandbox: Sandbox) -> None:
    result = attempt(
        sandbox,
        """
        for path in ("/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/interrupts", "/sys/firmware", "/proc/acpi"):
            if os.path.isdir(path):
                print(len(os.listdir(path)))
            elif os.path.exists(path):
                print(len(open(path, "rb").read(64)))
        """,
    )

    assert set(result.split()) == {"0"}


def test_with_nesting_namespaces_and_mounts_are_allowed_by_name(make_sandbox: Callable[..., Sandbox]) -> None:
    nested = make_sandbox(nesting=True).run(["unshare", "-Urm", "sh", "-c", "mount -t tmpfs none /mnt && echo mounted"])

    assert nested.stdout == "mounted\n", nested.stderr


@needs("gcc")
def test_the_32_bit_entry_is_no_way_round(sandbox: Sandbox) -> None:
    source = r"""
    #include <stdio.h>
    static int call(int n, int a) { int r; __asm__ volatile("int $0x80" : "=a"(r) : "a"(n), "b"(a) : "memory"); return r; }
    int main(void) { printf("%d %d\n", call(310, 0x10000000), call(359, 38)); return 0; }
    """
    sandbox.path("/tmp/entry.c").write_text(source)
    sandbox.run(["gcc", "-o", "/tmp/entry", "/tmp/entry.c"], check=True)

    unshare, alg_socket = (int(number) for number in sandbox.run(["/tmp/entry"], check=True).stdout.split())

    assert unshare in (-1, -38)
    assert alg_socket in (-1, -38, -97, -22)
