"""A program: installs a filter in itself, then tries calls or becomes another program. For the tests of this folder.

confined.py FILTER try          reads [["native"|"i386", number, argument, ...], ...] from stdin, prints the errnos; 0: it worked
confined.py FILTER run ARGS...
"""

import ctypes
import json
import mmap
import os
import sys

PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 38, 2
# push rbx; mov eax, edi; mov ebx, esi; xchg ecx, edx; int 0x80; pop rbx; movsxd rax, eax; ret
I386_CALL = bytes.fromhex("53 89f8 89f3 87d1 cd80 5b 4863c0 c3")

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


class Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def install(filter_path):
    with open(filter_path, "rb") as file:
        instructions = file.read()
    program = Program(len(instructions) // 8, instructions)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program)):
        sys.exit(f"the kernel refused the filter: {os.strerror(ctypes.get_errno())}")


def native(number, *arguments):
    # All six given: a register that is not would hold what the call before left there, now and then a pointer to a path.
    failed = libc.syscall(ctypes.c_long(number), *map(ctypes.c_ulong, [*arguments, *[0] * (6 - len(arguments))])) == -1
    return ctypes.get_errno() if failed else 0


def i386(number, *arguments):
    result = i386_entry(number, *arguments, *[0] * (3 - len(arguments)))
    return max(-result, 0)


code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
code.write(I386_CALL)
code_address = ctypes.addressof(ctypes.c_char.from_buffer(code))
i386_entry = ctypes.CFUNCTYPE(ctypes.c_long, *[ctypes.c_ulong] * 4)(code_address)

install(sys.argv[1])
if sys.argv[2] == "run":
    os.execvp(sys.argv[3], sys.argv[3:])
ways = {"native": native, "i386": i386}
print(json.dumps([ways[way](*numbers) for way, *numbers in json.load(sys.stdin)]))
