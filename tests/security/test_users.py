"""Classes 11 and 12 of the threat model: who a command runs as, and what a file of the image makes of it."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
from needs import needs
from security.attack import attempt

from lxsandbox import Sandbox, SandboxError
from lxsandbox.errors import CommandNotExecutable

pytestmark = pytest.mark.security

_PASSWD = """root:x:0:0::/root:/bin/sh
zero:x:00:0::/:/bin/sh
blank:x: 0:0::/:/bin/sh
plus:x:+0:0::/:/bin/sh
wrap:x:4294967296:4294967296::/:/bin/sh
minus:x:-1:-1::/:/bin/sh
all:x:4294967295:4294967295::/:/bin/sh
arabic:x:\u0660:\u0660::/:/bin/sh
hex:x:0x0:0::/:/bin/sh
short:x:0
77:x:0:0::/:/bin/sh
+::0:0:::
two\x0blines:x:0:0::/:/bin/sh
two\u2028other:x:0:0::/:/bin/sh
"""
_NOBODY = [
    *("zero", "blank", "plus", "wrap", "minus", "all", "arabic", "hex", "short", "lines", "other", "nosuch", "ROOT"),
    *(
        "+0",
        "-0",
        "00",
        "0x0",
        "-1",
        "4294967295",
        "4294967296",
        "18446744073709551616",
        "\u0660",
        "0 ",
        " 0",
        "0\n",
        "root\n",
        " ",
    ),
    *(":", "0:", ":0", "root:", "nosuch:0", "0:nosuch", "0:0:0", "root:root:root", "x" * 300, "../../etc/passwd", "1.0", "1e0"),
]


@pytest.mark.parametrize("user", _NOBODY)
def test_a_text_that_is_no_user_runs_nothing(sandbox: Sandbox, user: str) -> None:
    sandbox.run(["sh", "-c", "rm -f /etc/passwd"], check=True)
    sandbox.path("/etc/passwd").write_text(_PASSWD)

    with pytest.raises(SandboxError):
        sandbox.run(["id"], user=user)


@needs("id-range")
def test_a_number_is_a_uid_even_where_a_user_of_that_name_is_root(sandbox: Sandbox) -> None:
    sandbox.run(["sh", "-c", "rm -f /etc/passwd"], check=True)
    sandbox.path("/etc/passwd").write_text(_PASSWD)

    shown = sandbox.check_output(["sh", "-c", "id -u; id -g; id -G"], user="77")

    assert shown.split() == ["77", "77", "77"]


@needs("id-range")
@pytest.mark.parametrize("file", ["/etc/passwd", "/etc/group"])
@pytest.mark.parametrize("kind", ["link to a device", "loop", "fifo", "folder", "huge", "binary", "mem"])
def test_a_user_list_that_is_none_neither_hangs_nor_makes_root(sandbox: Sandbox, file: str, kind: str) -> None:
    make = {
        "link to a device": f"ln -s /dev/zero {file}",
        "loop": f"ln -s {file} {file}",
        "fifo": f"mkfifo {file}",
        "folder": f"mkdir {file}",
        "huge": f"echo evil:x:0:0::/:/bin/sh > {file}; truncate -s 1G {file}",
        "binary": f"head -c 100000 /dev/urandom > {file}",
        "mem": f"ln -s /proc/1/mem {file}",
    }[kind]
    sandbox.run(["sh", "-c", f"rm -f {file}; {make}"], check=True)

    with pytest.raises(SandboxError):
        sandbox.run(["id", "-u"], user="evil", timeout=10)
    assert sandbox.check_output(["id", "-u"], user="1234:1234", timeout=10) == "1234\n"


@needs("id-range")
def test_another_user_keeps_no_group_and_no_capability_of_roots(sandbox: Sandbox) -> None:
    shown = sandbox.check_output(["sh", "-c", "id -G; grep ^Cap /proc/self/status"], user="1234:1234").splitlines()
    status = dict(line.split(":\t") for line in shown[1:])

    assert shown[0] == "1234"
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0
    assert sandbox.run(["cat", "/etc/shadow"], user="1234:1234").returncode != 0


@needs("id-range")
@pytest.mark.parametrize("effective", [0, 1])
def test_capabilities_of_a_file_give_none(sandbox: Sandbox, effective: int) -> None:
    sandbox.run(["sh", "-c", "cp /bin/grep /usr/gainful; chmod 755 /usr/gainful"], check=True)
    # struct vfs_ns_cap_data, revision 2: every capability there is; see capabilities(7).
    give = f"""
    everything = struct.pack("<5I", 0x02000000 | {effective}, 0xffffffff, 0, 0xffffffff, 0)
    print(tried(os.setxattr, "/usr/gainful", "security.capability", everything))
    """
    assert attempt(sandbox, give) == "done"

    for user in ("0", "1234:1234"):
        try:
            shown = sandbox.check_output(["/usr/gainful", "^Cap[EPB]", "/proc/self/status"], user=user)
        except CommandNotExecutable:
            continue  # capabilities(7): with the effective bit, it is all of them or EPERM
        status = dict(line.split(":\t") for line in shown.splitlines())
        bound = int(status["CapBnd"], 16) if user == "0" else 0
        assert int(status["CapEff"], 16) & ~bound == int(status["CapPrm"], 16) & ~bound == 0


def test_root_inside_gets_back_nothing_that_it_gave_up(make_sandbox: Callable[..., Sandbox]) -> None:
    result = attempt(
        make_sandbox(),
        """
        header, full = struct.pack("<Ii", 0x20080522, 0), struct.pack("<6I", *[0xffffffff] * 6)
        print(call(126, header, full))                              # capset: all of them
        print(call(157, 47, 2, 21, 0, 0))                           # prctl: SYS_ADMIN into the ambient set
        print(call(157, 38, 0, 0, 0, 0))                            # no_new_privs off
        print(call(157, 22, 0, 0, 0, 0))                            # seccomp off
        """,
    )

    assert set(result.split()) <= {"EPERM", "EINVAL"}, result


@needs("root")
def test_root_inside_is_nobody_outside(make_sandbox: Callable[..., Sandbox]) -> None:
    sandbox = make_sandbox()
    with sandbox.popen([sys.executable, "-S", "-c", "import os; os.setuid(0); print('up', flush=True); input()"]) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with open(f"/proc/{sandbox.pid}/task/{sandbox.pid}/children", encoding="ascii") as file:
            children = file.read().split()
        for pid in children:
            with open(f"/proc/{pid}/status", encoding="ascii") as file:
                owners = next(line for line in file if line.startswith("Uid:")).split()[1:]
            assert all(int(owner) >= 65536 for owner in owners)
        process.kill()
    assert children
