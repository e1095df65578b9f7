"""Debian systems made by mmdebstrap(1), as images: one tar from the mirror, imported as one layer."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from typing import TYPE_CHECKING

from lxsandbox.errors import ImageError
from lxsandbox.images.archives import import_tar

if TYPE_CHECKING:
    from lxsandbox.images.debian_reference import DebianReference
    from lxsandbox.images.documents import Descriptor
    from lxsandbox.images.transports import FetchContext

__all__ = ["fetch_debian"]

_LAST_LINES = 8


def fetch_debian(reference: DebianReference, context: FetchContext) -> Descriptor:
    """Make the system that `reference` describes; takes 15 seconds and more. Raises ImageError with mmdebstrap's last words."""
    if shutil.which("mmdebstrap") is None:
        raise ImageError(
            f"image {reference.familiar()} is made by mmdebstrap, which is not installed", hint="apt install mmdebstrap"
        )
    with tempfile.TemporaryDirectory(prefix="lxsandbox-debian-") as folder:
        tar = os.path.join(folder, "root.tar")
        done = subprocess.run(
            _command(reference, tar), stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
        )
        if done.returncode:
            last = "\n".join(done.stderr.strip().splitlines()[-_LAST_LINES:])
            hint = "see whether the mirror is reachable and has the suite and all packages"
            raise ImageError(f"mmdebstrap could not make {reference.familiar()}:\n{last}", hint=hint)
        return import_tar(tar, context.blobs, name=str(reference))


def _command(reference: DebianReference, tar: str) -> list[str]:
    mode = "root" if os.geteuid() == 0 else "unshare"
    command = ["mmdebstrap", f"--mode={mode}", f"--variant={reference.variant}", f"--components={','.join(reference.components)}"]
    if reference.include:
        command.append(f"--include={','.join(reference.include)}")
    if not reference.check_valid_until:
        command.append('--aptopt=Acquire::Check-Valid-Until "false"')
    return [*command, "--format=tar", reference.suite, tar, *([reference.mirror] if reference.mirror else [])]
