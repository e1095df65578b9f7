"""Class 10 of the threat model: an archive whose files stand where the interpreter looks for modules."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from needs import needs

import lxsandbox

pytestmark = [pytest.mark.security, needs("root")]

# A folder and a module that exist nowhere: were the root not changed, nothing of the host would be overwritten.
_UNPACK = """
import io, os, sys, tarfile
sys.path[:0] = [sys.argv[1]]
sys.path.append("/lxsandbox-late-import")
from lxsandbox.images.unpack import unpack
content = b"import os; os.close(os.open('/ran', os.O_CREAT | os.O_WRONLY))"
packed = io.BytesIO()
with tarfile.open(fileobj=packed, mode="w") as archive:
    entry = tarfile.TarInfo("lxsandbox-late-import/lxsandbox_late_module.py")
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))
stream, sink = os.pipe()
os.write(sink, packed.getvalue())
os.close(sink)
unpack(stream, sys.argv[2])
try:
    import lxsandbox_late_module
except ImportError:
    print("refused")
"""


def test_no_module_is_loaded_from_an_archive_that_is_being_unpacked(tmp_path: Path) -> None:
    runtime = str(Path(lxsandbox.__file__).parent.parent)

    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _UNPACK, runtime, str(tmp_path)], capture_output=True, text=True, check=True
    )

    assert (tmp_path / "lxsandbox-late-import" / "lxsandbox_late_module.py").exists()  # it was unpacked, and would be found
    assert done.stdout == "refused\n"
    assert not (tmp_path / "ran").exists()
