"""Debian systems made by mmdebstrap(1), as images: what it writes of the mirror's packages, imported as one layer."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

from lxsandbox.errors import ImageError
from lxsandbox.images.archives import import_stream

if TYPE_CHECKING:
    from lxsandbox.images.debian_reference import DebianReference
    from lxsandbox.images.documents import Descriptor
    from lxsandbox.images.transports import FetchContext

__all__ = ["fetch_debian"]

_BLOCK_BYTES = 1 << 20
_LAST_LINES = 8


def fetch_debian(reference: DebianReference, context: FetchContext) -> Descriptor:
    """Make the system that `reference` describes; takes ten seconds and more. Raises ImageError with mmdebstrap's last words."""
    if shutil.which("mmdebstrap") is None:
        raise ImageError(
            f"image {reference.familiar()} is made by mmdebstrap, which is not installed", hint="apt install mmdebstrap"
        )
    return import_stream(_made(reference), context.blobs, name=str(reference))


def _made(reference: DebianReference) -> Iterator[bytes]:
    """The system as a tar. Whoever stops reading ends mmdebstrap; so does this process's end, however it comes."""
    with tempfile.TemporaryFile() as log:
        # A session of its own: told to end, mmdebstrap signals its whole process group.
        process = subprocess.Popen(
            _command(reference), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, start_new_session=True
        )
        with process:
            assert process.stdout is not None
            try:
                while block := process.stdout.read(_BLOCK_BYTES):
                    yield block
            except BaseException:
                process.terminate()  # it takes down what it has started, and removes its folder
                raise
        if process.returncode:
            hint = "see whether the mirror is reachable and has the suite and all packages"
            raise ImageError(f"mmdebstrap could not make {reference.familiar()}:\n{_last_lines(log)}", hint=hint)


def _command(reference: DebianReference) -> list[str]:
    mode = "root" if os.geteuid() == 0 else "unshare"
    command = ["mmdebstrap", f"--mode={mode}", f"--variant={reference.variant}", f"--components={','.join(reference.components)}"]
    if reference.include:
        command.append(f"--include={','.join(reference.include)}")
    if not reference.check_valid_until:
        command.append('--aptopt=Acquire::Check-Valid-Until "false"')
    command += ["--format=tar", reference.suite, "-", *([reference.mirror] if reference.mirror else [])]
    # prctl(2) PR_SET_PDEATHSIG, by setpriv(1) of util-linux: a service that is killed can end nothing itself.
    return ["setpriv", "--pdeathsig=TERM", *command]


def _last_lines(log: IO[bytes]) -> str:
    log.seek(0)
    return "\n".join(log.read().decode("utf-8", "replace").strip().splitlines()[-_LAST_LINES:])
