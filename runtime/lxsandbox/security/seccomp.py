"""Makes the BPF program of a sandbox's system call filter. For the service: what a sandbox gets is the finished bytes.

`number_search`, or libseccomp for profiles with conditions, compiles the rules of a plan, `argument_checks` stands in front of
it, and what comes out is kept in memory and on disk. Installing it in a process is `syscalls`' part.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import stat
from errno import ENOSYS
from typing import Any

from lxsandbox.errors import HostUnsupported, SpecError
from lxsandbox.security import argument_checks, filter_cache, number_search, oci_profile
from lxsandbox.security.seccomp_plan import Plan, Rule, errno_action
from lxsandbox.security.seccomp_profile import default_plan

__all__ = ["DEFAULT", "UNCONFINED", "compile_filter", "compile_plan"]

DEFAULT = "default"
UNCONFINED = "unconfined"

_LARGEST_PROFILE_BYTES = 1 << 20
_LARGEST_PROGRAM_BYTES = 8 * 4096  # BPF_MAXINSNS
# The 32-bit ABI that the same kernel serves. x32, the third one of x86_64, is left out and so answered ENOSYS as a whole.
_SECOND_ABI = {0xC000003E: (0x40000003,), 0xC00000B7: (0x40000028,)}

# For what i386 also has by way of socketcall or ipc libseccomp gives a made-up number, though the call has one of its own since
# Linux 4.3 and 5.1: arch/x86/entry/syscalls/syscall_32.tbl.
_DIRECT_NUMBERS = {
    (0x40000003, call): number
    for first, calls in (
        (337, "recvmmsg"),
        (345, "sendmmsg"),
        (359, "socket socketpair bind connect listen accept4 getsockopt setsockopt getsockname getpeername sendto sendmsg"),
        (371, "recvfrom recvmsg shutdown"),
        (393, "semget semctl shmget shmctl shmat shmdt msgget msgsnd msgrcv msgctl"),
    )
    for number, call in enumerate(calls.split(), first)
}
# libseccomp numbers the calls that an architecture lacks from here down (__PNR_* of <seccomp-syscalls.h>).
_FIRST_ABSENT = -10000


def compile_filter(profile: str, *, nesting: bool, capabilities: frozenset[int]) -> bytes:
    """The filter as raw `struct sock_filter[]`, for a sandbox that holds these capabilities.

    `profile` is "default", "unconfined" (no filter: empty bytes), or the path of a profile in the OCI JSON format; such a
    one is taken as it is, `nesting` changes nothing in it. Raises SpecError for a profile that cannot be read or makes no
    sense, HostUnsupported where libseccomp is missing.
    """
    if profile == UNCONFINED:
        return b""
    if profile == DEFAULT:
        return _compiled_default(nesting, capabilities)
    return _compiled_file(profile, _profile_text(profile), capabilities)


@functools.lru_cache(maxsize=64)
def _compiled_default(nesting: bool, capabilities: frozenset[int]) -> bytes:
    architectures = _SECOND_ABI.get(native_architecture(), ())
    plan = default_plan(nesting=nesting, capabilities=capabilities, architectures=architectures)
    return _cached(plan, DEFAULT)


@functools.lru_cache(maxsize=64)
def _compiled_file(path: str, text: bytes, capabilities: frozenset[int]) -> bytes:
    return _cached(oci_profile.parse(text, source=path, capabilities=capabilities, native=native_architecture()), path)


def _profile_text(path: str) -> bytes:
    try:
        # NONBLOCK: a fifo must not hold up the service.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise SpecError(f"seccomp profile {path} is not a regular file")
            text = file.read(_LARGEST_PROFILE_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        if isinstance(error, SpecError):
            raise
        hint = 'seccomp is "default", "unconfined", or the path of a profile in the OCI JSON format'
        raise SpecError(f"seccomp profile {path!r} cannot be read: {error}", hint=hint) from None
    if len(text) > _LARGEST_PROFILE_BYTES:
        raise SpecError(f"seccomp profile {path} is larger than {_LARGEST_PROFILE_BYTES} bytes")
    return text


def _cached(plan: Plan, source: str) -> bytes:
    native = native_architecture()
    # repr of frozen values: the same plan, text for text. The code that makes it is not in it, hence the number in front.
    key = hashlib.sha256(f"2 {_library_version()} {native:#x} {plan!r}".encode()).hexdigest()
    program = filter_cache.load(key)
    if program is None:
        program = compile_plan(plan, native=native, source=source)
        filter_cache.store(key, program)
    return program


def compile_plan(plan: Plan, *, native: int, source: str) -> bytes:
    """The plan as BPF for machines of this architecture (AUDIT_ARCH_*). `source` names the profile in a SpecError."""
    library = _library()
    number_of = functools.partial(_number_of, library)
    program = argument_checks.instructions(plan.checks, (native, *plan.architectures), number_of)
    program += _search(library, plan, native) if plan.by_number else _export(_with_rules(library, plan, native, source))
    if len(program) > _LARGEST_PROGRAM_BYTES:
        raise SpecError(f"seccomp profile {source} makes {len(program) // 8} instructions, and the kernel takes 4096")
    return program


def _search(library: Any, plan: Plan, native: int) -> bytes:
    answers: dict[int, dict[int, int]] = {}
    for architecture in (native, *plan.architectures):
        # What has no number of its own there can be called by none: the default answers.
        numbers = ((_own_number(library, architecture, rule.call), rule.action) for rule in plan.rules)
        answers[architecture] = {number: action for number, action in numbers if number >= 0}
    return number_search.instructions(answers, default=plan.default, foreign=errno_action(ENOSYS))


def _with_rules(library: Any, plan: Plan, native: int, source: str) -> Any:
    rules = library.SyscallFilter(plan.default)
    rules.set_attr(library.Attr.ACT_BADARCH, errno_action(ENOSYS))
    if native != library.system_arch():
        rules.add_arch(native)
        rules.remove_arch(library.Arch.NATIVE)
    for architecture in plan.architectures:
        rules.add_arch(architecture)
    # A binary tree over the numbers in place of one comparison after the other; libseccomp has it since 2.5.
    rules.set_attr(library.Attr.CTL_OPTIMIZE, 2)
    for rule in plan.rules:
        _add(library, rules, rule, source)
    return rules


def _add(library: Any, rules: Any, rule: Rule, source: str) -> None:
    number = library.resolve_syscall(library.Arch.NATIVE, rule.call)
    if number == -1:  # __NR_SCMP_ERROR: a call newer than this libseccomp, which the default then answers
        return
    arguments = [library.Arg(c.argument, c.operator, c.value, c.second_value) for c in rule.comparisons]
    try:
        rules.add_rule(rule.action, number, *arguments)
    except OSError as error:
        raise SpecError(f"seccomp profile {source}: libseccomp refuses its rule for {rule.call}: {error}") from None


def _number_of(library: Any, architecture: int, call: str) -> int | None:
    number = _own_number(library, architecture, call)
    if _FIRST_ABSENT < number < 0:
        # Neither a number nor absent: a check left out here would be a hole, so rather no filter at all.
        raise HostUnsupported(f"libseccomp has no number for {call} on architecture {architecture:#x}", capability="seccomp")
    return None if number < 0 else number


def _own_number(library: Any, architecture: int, call: str) -> int:
    """The call's own number; below 0 where it has none, or this libseccomp knows none."""
    return _DIRECT_NUMBERS.get((architecture, call)) or int(library.resolve_syscall(architecture, call))


def _export(rules: Any) -> bytes:
    with open(os.memfd_create("seccomp", os.MFD_CLOEXEC), "w+b") as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()


def native_architecture() -> int:
    """The architecture that this process makes its calls in, as AUDIT_ARCH_* has it. Raises HostUnsupported."""
    return int(_c_library().seccomp_arch_native())


class _Version(ctypes.Structure):
    _fields_ = (("major", ctypes.c_uint), ("minor", ctypes.c_uint), ("micro", ctypes.c_uint))


@functools.cache
def _library_version() -> str:
    version = _c_library().seccomp_version().contents
    return f"{version.major}.{version.minor}.{version.micro}"


@functools.cache
def _c_library() -> Any:
    # pyseccomp takes 20 ms to import (it asks ldconfig), and where the filter is on disk only these two are needed.
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError as error:
        raise _missing(error) from None
    library.seccomp_version.restype = ctypes.POINTER(_Version)
    library.seccomp_arch_native.restype = ctypes.c_uint32
    return library


@functools.cache
def _library() -> Any:
    try:
        import pyseccomp
    except (ImportError, RuntimeError, OSError) as error:  # RuntimeError: it does not find libseccomp
        raise _missing(error) from None
    return pyseccomp


def _missing(error: Exception) -> HostUnsupported:
    return HostUnsupported(
        f"the system call filter needs libseccomp: {error}",
        hint='install libseccomp2 (apt install libseccomp2), or seccomp="unconfined"',
        capability="seccomp",
    )
