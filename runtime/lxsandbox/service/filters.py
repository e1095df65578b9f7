"""Compiled system call filters as memory files, each made once and passed to every sandbox that wants it."""

from __future__ import annotations

import os

from lxsandbox.security import capabilities
from lxsandbox.security.seccomp import compile_filter
from lxsandbox.spec import SandboxSpec

__all__ = ["FilterFiles"]


class FilterFiles:
    """Descriptors of filters by what they were compiled for."""

    def __init__(self) -> None:
        self._files: dict[bytes, int] = {}

    def descriptor(self, spec: SandboxSpec) -> int:
        """The filter of this spec; empty for `unconfined`. Raises SpecError, HostUnsupported as the compiler does."""
        held = capabilities.resolve(list(spec.capabilities), nesting=spec.nesting)
        program = compile_filter(spec.seccomp, nesting=spec.nesting, capabilities=held)
        if program not in self._files:
            fd = os.memfd_create("lxsandbox-seccomp", os.MFD_CLOEXEC)
            os.write(fd, program)
            self._files[program] = fd
        return self._files[program]

    def close(self) -> None:
        """Close all of them."""
        for fd in self._files.values():
            os.close(fd)
        self._files.clear()
