"""What the compiled filter answers, call by call, run through a machine of our own: also for machines that are not this one."""

import dataclasses
import errno
import json
import os
import random
import stat
import subprocess
import sys
from pathlib import Path

import pyseccomp
import pytest
from security_unit.bpf_machine import answer, run

from lxsandbox.errors import SpecError
from lxsandbox.security import filter_cache, number_search, seccomp
from lxsandbox.security.capabilities import DEFAULT
from lxsandbox.security.seccomp_plan import ALLOW, errno_action
from lxsandbox.security.seccomp_profile import default_plan

X86_64, X86, AARCH64, ARM = 0xC000003E, 0x40000003, 0xC00000B7, 0x40000028
DENY, UNKNOWN = errno_action(errno.EPERM), errno_action(errno.ENOSYS)
PAIRS = [(X86_64, X86), (AARCH64, ARM)]
ABIS = [(native, abi) for native, second in PAIRS for abi in (native, second)]


@pytest.fixture(scope="module")
def programs() -> dict[int, bytes]:
    plans = {native: default_plan(nesting=False, capabilities=DEFAULT, architectures=(second,)) for native, second in PAIRS}
    return {native: seccomp.compile_plan(plan, native=native, source="default") for native, plan in plans.items()}


def number(abi: int, name: str) -> int:
    direct = {(X86, "socket"): 359, (X86, "socketpair"): 360}
    return direct.get((abi, name)) or pyseccomp.resolve_syscall(abi, name)


@pytest.mark.parametrize(("native", "abi"), ABIS)
def test_every_listed_call_gets_its_answer_in_every_abi(programs, native, abi):
    plan = default_plan(nesting=False, capabilities=DEFAULT, architectures=())
    checked = {check.call for check in plan.checks}
    for rule in plan.rules:
        if (listed := number(abi, rule.call)) >= 0 and rule.call not in checked:
            assert answer(programs[native], abi, listed) == rule.action, rule.call


@pytest.mark.parametrize(("native", "abi"), ABIS)
def test_every_other_number_is_unknown(programs, native, abi):
    plan = default_plan(nesting=False, capabilities=DEFAULT, architectures=())
    listed = {number(abi, rule.call) for rule in plan.rules}
    multiplexed = {number(abi, name) for name in ("ipc", "socketcall")}
    # What i386 has twice, by number and by way of socketcall or ipc, libseccomp names after the latter.
    direct_of_i386 = {337, 345, *range(359, 374), *range(393, 403)} if abi == X86 else set()

    for other in set(range(-2, 1200)) - listed - multiplexed - direct_of_i386:
        assert answer(programs[native], abi, other) == UNKNOWN, other


@pytest.mark.parametrize(("native", "abi"), ABIS)
@pytest.mark.parametrize("high", [0, 1 << 32, 0xFFFFFFFF << 32])
def test_an_argument_is_judged_by_its_low_half(programs, native, abi, high):
    def answers(name: str, *arguments: int) -> int:
        return answer(programs[native], abi, number(abi, name), *arguments)

    assert {value for value in range(0x5300, 0x5500) if answers("ioctl", 0, value | high) != ALLOW} == {0x5412, 0x541C}
    assert answers("ioctl", 0, 0x5412 | high) == answers("ioctl", 0, 0x541C | high) == DENY
    assert answers("ioctl", 0, 0x80045430 | high) == ALLOW
    for name in ("socket", "socketpair"):
        assert {family for family in range(64) if answers(name, family | high) == ALLOW} == {0, 1, 2, 10, 16, 17}
        assert answers(name, 40 | high) == DENY
    for bit in range(32):
        makes_a_namespace = bit in (17, 25, 26, 27, 28, 29, 30)
        assert answers("clone", 1 << bit | high) == (DENY if makes_a_namespace else ALLOW), bit
    assert answers("personality", 0x40000 | high) == ALLOW
    assert answers("personality", 0x400000 | high) == DENY


def test_i386_has_no_socketcall_and_x86_64_no_x32(programs):
    assert answer(programs[X86_64], X86, 102, 1) == UNKNOWN
    assert {answer(programs[X86_64], X86_64, 0x40000000 | call) for call in range(600)} == {UNKNOWN}


def test_a_foreign_architecture_is_unknown(programs):
    assert {answer(programs[X86_64], AARCH64, call) for call in range(500)} == {UNKNOWN}


def test_calls_too_dangerous_to_try_are_denied(programs):
    for name in ("reboot", "vhangup", "kexec_file_load", "iopl", "ioperm"):
        assert answer(programs[X86_64], X86_64, number(X86_64, name)) == DENY


def test_nesting_leaves_the_keyring_unknown_for_runtimes_to_go_on_without():
    plan = default_plan(nesting=True, capabilities=DEFAULT, architectures=())
    program = seccomp.compile_plan(plan, native=X86_64, source="default")

    assert answer(program, X86_64, number(X86_64, "keyctl")) == UNKNOWN
    assert answer(program, X86_64, number(X86_64, "clone3")) == ALLOW
    assert answer(program, X86_64, number(X86_64, "clone"), 0x10000000) == ALLOW


@pytest.mark.parametrize("name", ["read", "write", "futex", "epoll_wait", "openat", "clock_nanosleep", "ioctl", "faccessat2"])
def test_a_frequent_call_passes_few_instructions(programs, name):
    assert run(programs[X86_64], X86_64, number(X86_64, name))[1] < 40


@pytest.mark.parametrize(("native", "abi"), ABIS)
@pytest.mark.parametrize("nesting", [False, True])
def test_the_answers_are_those_of_libseccomps_program(native, abi, nesting):
    second = dict(PAIRS)[native]
    plan = default_plan(nesting=nesting, capabilities=DEFAULT, architectures=(second,))
    ours, theirs = (
        seccomp.compile_plan(dataclasses.replace(plan, by_number=by_number), native=native, source="default")
        for by_number in (True, False)
    )

    numbers = [*range(-2, 1200), *range(0x40000000, 0x40000300), 0x7FFFFFFF]
    assert [answer(ours, abi, each) for each in numbers] == [answer(theirs, abi, each) for each in numbers]
    assert len(ours) < len(theirs) / 2


@pytest.mark.parametrize("count", [0, 1, 2, 3, 100, 700])
def test_a_search_finds_the_answer_to_every_number_also_over_long_jumps(count):
    chosen = random.Random(count)
    answers = {abi: {chosen.randrange(2000): chosen.choice([ALLOW, DENY, 7]) for _ in range(count)} for abi in (X86_64, X86)}
    program = number_search.instructions(answers, default=UNKNOWN, foreign=DENY)

    for abi, known in answers.items():
        for each in [-1, *range(2001)]:
            assert answer(program, abi, each) == known.get(each, UNKNOWN), each
    assert answer(program, AARCH64, 3) == DENY


def test_unconfined_is_no_filter():
    assert seccomp.compile_filter("unconfined", nesting=False, capabilities=DEFAULT) == b""


def test_without_libseccomp_the_error_names_the_package(tmp_path):
    (tmp_path / "libseccomp.so.2").write_bytes(b"no library")
    script = """
from lxsandbox.errors import HostUnsupported
from lxsandbox.security.seccomp import compile_filter
try:
    compile_filter("default", nesting=False, capabilities=frozenset())
except HostUnsupported as error:
    print(error.capability, error.hint)
"""
    environment = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path), "PYTHONPATH": str(Path(seccomp.__file__).parents[2])}

    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)

    assert done.stdout == 'seccomp install libseccomp2 (apt install libseccomp2), or seccomp="unconfined"\n'


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache folder; the file that comes into it is found by its suffix."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "lxsandbox" / "seccomp"


def test_a_stored_filter_is_found_again_and_is_the_users_alone(cache):
    filter_cache.store("key", bytes(16))

    assert filter_cache.load("key") == bytes(16)
    assert [file.name for file in cache.iterdir()] == ["key.bpf"]
    assert stat.S_IMODE((cache / "key.bpf").stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [b"", bytes(16), bytes(47), b"x" * 4096 * 16])
def test_a_broken_cache_file_is_not_used(cache, content):
    filter_cache.store("key", bytes(16))
    (cache / "key.bpf").write_bytes(content)

    assert filter_cache.load("key") is None


def test_a_cache_file_that_others_could_have_written_is_not_used(cache, tmp_path):
    filter_cache.store("key", bytes(16))
    os.link(cache / "key.bpf", tmp_path / "elsewhere")
    (cache / "link.bpf").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(cache / "fifo.bpf", 0o600)
    (cache / "key.bpf").chmod(0o620)

    assert [filter_cache.load(key) for key in ("key", "link", "fifo", "absent")] == [None] * 4


def test_a_cache_folder_that_cannot_be_written_is_no_error(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/self/nowhere")

    filter_cache.store("key", bytes(16))

    assert filter_cache.load("key") is None


def test_a_filter_is_compiled_once_and_then_read(cache):
    profile = cache.parent.parent / "profile.json"
    profile.write_text('{"defaultAction": "SCMP_ACT_ALLOW"}')

    program = seccomp.compile_filter(str(profile), nesting=False, capabilities=DEFAULT)

    (file,) = cache.iterdir()
    assert filter_cache.load(file.stem) == program


def test_a_filter_larger_than_the_kernel_takes_is_refused(cache, tmp_path):
    entry = {"names": ["close"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 0, "op": "SCMP_CMP_EQ"}]}
    many = [{**entry, "args": [{"index": 0, "value": value, "op": "SCMP_CMP_EQ"}]} for value in range(5000)]
    profile = tmp_path / "profile.json"
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": many}))

    with pytest.raises(SpecError, match="4096"):
        seccomp.compile_filter(str(profile), nesting=False, capabilities=DEFAULT)
