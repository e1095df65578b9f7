"""Class 1 of the threat model, and the exec half of 2: the file that init runs, reached through an exec (CVE-2019-5736)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from security.attack import attempt

from lxsandbox import Sandbox

pytestmark = pytest.mark.security

# The kernel opens the interpreter of a script on behalf of a process that is still init's clone.
_SCRIPT = """#!/proc/self/exe
import errno, os
mine = os.open("/proc/self/exe", os.O_RDONLY)
again = f"/proc/self/fd/{mine}"
for attempt in (
    lambda: os.fchmod(mine, 0o4711),
    lambda: os.chmod(again, 0),
    lambda: os.utime(mine, (1, 1)),
    lambda: os.setxattr(again, "user.mark", b"x"),
    lambda: os.chown(again, 0, 0),
    lambda: os.truncate(again, 0),
    lambda: os.open(again, os.O_WRONLY),
    lambda: os.open("/proc/self/exe", os.O_RDWR),
):
    try:
        attempt()
        print("done")
    except OSError as error:
        print(errno.errorcode[error.errno])
"""
_STARTER = """
import sys
from lxsandbox import Sandbox
with Sandbox() as box:
    script = box.path("/usr/script")
    script.write_text(sys.stdin.read())
    script.chmod(0o755)
    print(box.check_output(["/usr/script"]))
"""


@pytest.mark.usefixtures("own_run")
def test_a_script_that_has_itself_run_by_inits_file_cannot_change_that_file(tmp_path: Path) -> None:
    # As in a virtual environment made with --copies, by pyenv, conda or uv: the interpreter belongs to the user.
    subprocess.run([sys.executable, "-m", "venv", "--copies", "--without-pip", tmp_path / "venv"], check=True)
    interpreter = tmp_path / "venv" / "bin" / "python"
    before = interpreter.stat()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}

    done = subprocess.run(
        [interpreter, "-c", _STARTER], input=_SCRIPT, capture_output=True, text=True, env=environment, check=False
    )

    assert done.returncode == 0, done.stderr
    # EACCES alone would say that the exec was refused; then this is no test of what follows an exec.
    assert set(done.stdout.split()) <= {"EROFS", "ETXTBSY", "EPERM", "EACCES"}, done.stdout
    assert len(done.stdout.split()) == 8
    after = interpreter.stat()
    assert (after.st_mode, after.st_mtime_ns, after.st_ctime_ns) == (before.st_mode, before.st_mtime_ns, before.st_ctime_ns)


def test_no_descriptor_of_init_leads_an_exec_to_a_program_of_the_host(sandbox: Sandbox, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho outside\n")
    program.chmod(0o755)
    script = sandbox.path("/tmp/script")
    for number in range(3, 24):
        # At that moment the descriptors that are closed on exec are still open.
        for path in (f"/proc/self/fd/{number}", f"/proc/self/fd/{number}{'/..' * 8}{program}"):
            script.write_text(f"#!{path}\n")
            script.chmod(0o755)
            try:
                done = sandbox.run(["/tmp/script"], timeout=10)
            except OSError:
                continue
            assert "outside" not in done.stdout
        with pytest.raises(OSError):  # noqa: PT011 - any: there is no such file
            sandbox.run([f"/proc/self/fd/{number}{'/..' * 8}{program}"])


@pytest.mark.parametrize("given", [{}, {"nesting": True}, {"capabilities": ["+ALL"]}], ids=["default", "nesting", "all"])
def test_the_file_of_init_is_out_of_reach_through_proc(make_sandbox: Callable[..., Sandbox], given: dict[str, object]) -> None:
    result = attempt(
        make_sandbox(**given),
        """
        for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_PATH):
            print(tried(os.open, "/proc/1/exe", flags))
        print(tried(os.chmod, "/proc/1/exe", 0o777), call(265, -100, b"/proc/1/exe", -100, b"/tmp/x", 0x400))  # linkat
        print(tried(os.execv, "/proc/1/exe", ["python"]))
        """,
    )

    assert set(result.split()) <= {"EACCES", "EPERM"}, result
