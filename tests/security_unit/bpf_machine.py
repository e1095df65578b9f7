"""Runs a seccomp filter as the kernel does, for any architecture: what it answers to one call. Nothing is called."""

import operator
import struct

_JUMPS = {0x10: operator.eq, 0x20: operator.gt, 0x30: operator.ge, 0x40: operator.and_}
_LOAD, _RETURN, _AND, _JUMP = 0x20, 0x06, 0x54, 0x05


def answer(program: bytes, architecture: int, number: int, *arguments: int) -> int:
    """The action (SECCOMP_RET_*) that the program returns for this call."""
    return run(program, architecture, number, *arguments)[0]


def run(program: bytes, architecture: int, number: int, *arguments: int) -> tuple[int, int]:
    """The action, and how many instructions it took."""
    data = struct.pack("<iIQ6Q", number, architecture, 0, *(list(arguments) + [0] * 6)[:6])
    steps = list(struct.iter_unpack("=HBBI", program))
    accumulator = place = 0
    for count in range(1, len(steps) + 1):
        code, then, otherwise, operand = steps[place]
        place += 1
        if code == _RETURN:
            return operand, count
        if code == _LOAD:
            (accumulator,) = struct.unpack_from("<I", data, operand)
        elif code == _AND:
            accumulator &= operand
        elif code == _JUMP:
            place += operand
        elif code & 0x0F == _JUMP and code & 0xF0 in _JUMPS:
            place += then if _JUMPS[code & 0xF0](accumulator, operand) else otherwise
        else:
            raise AssertionError(f"an instruction that this machine has not: {code:#x}")
    raise AssertionError("the program does not end")
