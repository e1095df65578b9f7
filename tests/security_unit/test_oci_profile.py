"""Profiles in the OCI JSON format: what they come to, and what is said of a bad one."""

import errno
import json
from collections.abc import Callable

import pyseccomp
import pytest
from security_unit.bpf_machine import answer

from lxsandbox.errors import SpecError
from lxsandbox.security import seccomp
from lxsandbox.security.capabilities import DEFAULT, NUMBERS
from lxsandbox.security.oci_profile import parse
from lxsandbox.security.seccomp_plan import ALLOW, KILL_PROCESS, Rule, errno_action

X86_64, X86, X32, AARCH64 = 0xC000003E, 0x40000003, 0x4000003E, 0xC00000B7
PERSONALITY = {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]}
ALLOW_READ = {"names": ["read"], "action": "SCMP_ACT_ALLOW"}


def plan_of(*syscalls: object, capabilities: frozenset[int] = DEFAULT, native: int = X86_64, **profile: object):
    text = json.dumps({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": syscalls, **profile}).encode()
    return parse(text, source="p.json", capabilities=capabilities, native=native)


def test_the_default_and_the_actions_are_read():
    plan = plan_of(
        ALLOW_READ,
        {"names": ["bpf"], "action": "SCMP_ACT_KILL_PROCESS"},
        {"name": "acct", "action": "SCMP_ACT_ERRNO", "errnoRet": 22},
        defaultErrnoRet=38,
    )

    assert plan.default == errno_action(38)
    assert [(rule.call, rule.action) for rule in plan.rules] == [
        ("read", ALLOW),
        ("bpf", KILL_PROCESS),
        ("acct", errno_action(22)),
    ]


def test_a_rule_that_says_what_the_default_says_is_left_out():
    assert plan_of({"names": ["mount"], "action": "SCMP_ACT_ERRNO"}).rules == ()


@pytest.mark.parametrize(
    ("condition", "applies"),
    [
        ({"includes": {"caps": ["CAP_CHOWN"]}}, True),
        ({"includes": {"caps": ["CAP_SYS_ADMIN"]}}, False),
        ({"excludes": {"caps": ["CAP_CHOWN"]}}, False),
        ({"excludes": {"caps": ["CAP_SYS_ADMIN"]}}, True),
        ({"includes": {"arches": ["amd64", "x32"]}}, True),
        ({"includes": {"arches": ["arm64"]}}, False),
        ({"excludes": {"arches": ["amd64"]}}, False),
        ({"includes": {"minKernel": "4.8"}}, True),
        ({"includes": {"minKernel": "99.1"}}, False),
        ({"includes": {}, "excludes": None}, True),
    ],
)
def test_an_entry_applies_where_its_conditions_hold(condition, applies):
    assert plan_of({**ALLOW_READ, **condition}).rules == ((Rule(call="read", action=ALLOW),) if applies else ())


def test_an_argument_named_twice_gives_two_alternatives():
    arguments = [{"index": 0, "value": value, "op": "SCMP_CMP_EQ"} for value in (1, 2)]

    rules = plan_of({"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": arguments}).rules

    assert [[comparison.value for comparison in rule.comparisons] for rule in rules] == [[1], [2]]


def test_the_architectures_beside_our_own_come_from_either_list():
    machines = [
        {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]},
        {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
        {"architecture": "SCMP_ARCH_RISCV64", "subArchitectures": None},
    ]

    assert plan_of(archMap=machines).architectures == (X86, X32)
    assert plan_of(architectures=["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_S390X"]).architectures == (X86,)


@pytest.fixture
def profile_file(tmp_path) -> Callable[[object], str]:
    def profile_file(content: object) -> str:
        path = tmp_path / "profile.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    return profile_file


def test_a_profile_decides_what_the_kernel_does(profile_file, confined):
    deny = {"names": ["mkdirat", "mkdir", "nosuchcall"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.EDOM}
    path = profile_file({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [deny]})

    program = seccomp.compile_filter(path, nesting=False, capabilities=DEFAULT)

    assert confined(program).output("sh", "-c", "LC_ALL=C mkdir /tmp/never 2>&1 || echo refused") == (
        "mkdir: cannot create directory '/tmp/never': Numerical argument out of domain\nrefused\n"
    )


def test_a_profile_is_taken_as_it_is(profile_file):
    path = profile_file({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [PERSONALITY | {"action": "SCMP_ACT_ERRNO"}]})

    program = seccomp.compile_filter(path, nesting=False, capabilities=frozenset({NUMBERS["SYS_ADMIN"]}))

    native = seccomp.native_architecture()
    personality, mount = (pyseccomp.resolve_syscall(native, name) for name in ("personality", "mount"))
    assert answer(program, native, personality, 8) == errno_action(errno.EPERM)
    assert answer(program, native, personality, 9) == answer(program, native, mount) == ALLOW


def test_a_call_may_be_named_twice_and_by_value(profile_file):
    by_value = [PERSONALITY | {"args": [{"index": 0, "value": value, "op": "SCMP_CMP_EQ"}]} for value in (0, 8, 8)]
    masked = {"names": ["ioctl"], "action": "SCMP_ACT_ALLOW"}
    masked["args"] = [{"index": 1, "value": 0xFF00, "valueTwo": 0x5400, "op": "SCMP_CMP_MASKED_EQ"}]
    path = profile_file({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [ALLOW_READ, ALLOW_READ, *by_value, masked]})

    program = seccomp.compile_filter(path, nesting=False, capabilities=DEFAULT)

    native, deny = seccomp.native_architecture(), errno_action(errno.EPERM)
    personality, ioctl, read = (pyseccomp.resolve_syscall(native, name) for name in ("personality", "ioctl", "read"))
    assert [answer(program, native, personality, value) for value in (0, 8, 9)] == [ALLOW, ALLOW, deny]
    assert [answer(program, native, ioctl, 0, value) for value in (0x5401, 0x5501)] == [ALLOW, deny]
    assert answer(program, native, read) == ALLOW


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not JSON"),
        ("[]", "the profile"),
        ({}, "defaultAction"),
        ({"defaultAction": "SCMP_ACT_NOTIFY"}, "SCMP_ACT_NOTIFY"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": {}}, "syscalls"),
        (
            {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [ALLOW_READ, {"names": "read", "action": "SCMP_ACT_ALLOW"}]},
            r"syscalls\[1\].names",
        ),
        ({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"action": "SCMP_ACT_ALLOW"}]}, "names"),
        ({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [PERSONALITY | {"args": [{"index": 6}]}]}, "op=None"),
        ({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [PERSONALITY | {"args": [{"op": "SCMP_CMP_EQ", "index": 6}]}]}, "index"),
        ({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": -1}, "defaultErrnoRet"),
        ({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [ALLOW_READ | {"includes": {"arches": 3}}]}, "arches"),
    ],
)
def test_a_bad_profile_is_refused_by_file_and_place(profile_file, content, said):
    path = profile_file(content)

    with pytest.raises(SpecError, match=f"(?s){path}.*{said}"):
        seccomp.compile_filter(path, nesting=False, capabilities=DEFAULT)


@pytest.mark.parametrize("path", ["/nowhere/profile.json", "/", "/dev/zero", "nul\0"])
def test_a_profile_that_cannot_be_read_is_refused(path):
    with pytest.raises(SpecError, match="seccomp profile"):
        seccomp.compile_filter(path, nesting=False, capabilities=DEFAULT)
