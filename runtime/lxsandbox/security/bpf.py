"""One instruction of a filter program, and the places of what it looks at."""

from __future__ import annotations

import struct

__all__ = [
    "ARCHITECTURE",
    "ARGUMENTS",
    "JUMP",
    "JUMP_IF_BIT",
    "JUMP_IF_EQUAL",
    "JUMP_IF_NOT_BELOW",
    "LOAD",
    "NUMBER",
    "RETURN",
    "instruction",
]

# include/uapi/linux/bpf_common.h
LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
JUMP = 0x05  # BPF_JMP | BPF_JA
JUMP_IF_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
JUMP_IF_NOT_BELOW = 0x35  # BPF_JMP | BPF_JGE | BPF_K, without a sign
JUMP_IF_BIT = 0x45  # BPF_JMP | BPF_JSET | BPF_K
RETURN = 0x06  # BPF_RET | BPF_K

# Offsets in struct seccomp_data, include/uapi/linux/seccomp.h
NUMBER = 0
ARCHITECTURE = 4
ARGUMENTS = 16


def instruction(code: int, operand: int, *, then: int = 0, otherwise: int = 0) -> bytes:
    """A `struct sock_filter`; a comparison skips `then` or `otherwise` instructions, at most 255."""
    return struct.pack("=HBBI", code, then, otherwise, operand)
