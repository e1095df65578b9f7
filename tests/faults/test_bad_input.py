"""What a user gets wrong: one message with what to do, at the user's own line, and no line of this package."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from faults.runs import Runs
from needs import needs

pytestmark = needs("user-namespaces", "overlayfs", "libseccomp")

# What a test does, the error that it gets, and what stands in the message or the hint.
MISTAKES = {
    "sandbox.run('ls -l')": ("SpecError", "pass a list"),
    "sandbox.popen('ls -l')": ("SpecError", "pass a list"),
    "sandbox.run([])": ("SpecError", "at least one argument"),
    "sandbox.run(['ls', 3])": ("SpecError", "convert numbers with str"),
    "sandbox.run(['no-such-command'])": ("CommandNotFound", "'no-such-command'"),
    "sandbox.run(['/no/such/command'])": ("CommandNotFound", "check the path"),
    "sandbox.popen(['/no/such/command'])": ("CommandNotFound", "check the path"),
    "sandbox.run(['/etc/passwd'])": ("CommandNotExecutable", "chmod +x"),
    "sandbox.run(['/usr'])": ("CommandNotExecutable", "/usr"),
    "sandbox.run(['true'], cwd='/no/such/folder')": ("CommandNotFound", "cwd='/no/such/folder'"),
    "sandbox.run(['true'], cwd='relative')": ("CommandNotFound", "cwd='relative'"),
    "sandbox.run(['true'], user='no-such-user')": ("SpecError", "'no-such-user'"),
    "sandbox.run(['true'], user='0:no-such-group')": ("SpecError", "'no-such-group'"),
    "sandbox.run(['true'], env={'A=B': 'C'})": ("SpecError", "a name has no '='"),
    "sandbox.run(['true'], input=3)": ("SpecError", "pass text or bytes"),
    "sandbox.path('relative')": ("SpecError", "absolute"),
    "sandbox.path('/no/such/file').read_text()": ("FileNotFoundError", "/no/such/file"),
    "sandbox.copy_in('/no/such/file', '/tmp')": ("FileNotFoundError", "/no/such/file"),
    "sandbox.copy_out('/no/such/file', '.')": ("FileNotFoundError", "/no/such/file"),
    "sandbox.connect(99999)": ("SpecError", "from 1 to 65535"),
    "sandbox.connect(1)": ("ConnectionRefusedError", ""),
    "sandbox.update(memory='-5')": ("SpecError", "memory='-5'"),
    "sandbox.update(disk='1G')": ("SpecError", "no such limit: disk"),
    "sandbox.run(['false'], check=True)": ("subprocess.CalledProcessError", "exit status 1"),
    "sandbox.run(['sleep', '1000'], timeout=0.1)": ("subprocess.TimeoutExpired", "0.1 seconds"),
    "sandbox.call(len, 3)": ("TypeError", "in the sandbox"),
    "sandbox.kill(); sandbox.run(['true'])": ("SandboxDied", "on request"),
    "make_sandbox(ram='1G')": ("SpecError", "the fields are image, command"),
    "make_sandbox(memory='lots')": ("SpecError", '"256M"'),
    "make_sandbox(memory=-1)": ("SpecError", "memory=-1"),
    "make_sandbox(memory='99999999T')": ("SpecError", "8 EiB"),
    "make_sandbox(pids=-1)": ("SpecError", "pids=-1"),
    "make_sandbox(pids=1.5)": ("SpecError", "whole number"),
    "make_sandbox(cpus=0)": ("SpecError", "cpus=0"),
    "make_sandbox(timeout=-1)": ("SpecError", "timeout=-1"),
    "make_sandbox(disk='0')": ("SpecError", "disk='0'"),
    "make_sandbox(disk='4K').run(['true'])": ("SandboxError", "a larger disk="),
    "make_sandbox(command='sleep 5')": ("SpecError", "pass a list"),
    "make_sandbox(command=['/no/such/command'])": ("CommandNotFound", "check the path"),
    "make_sandbox(command=['true'], user='no-such-user')": ("SpecError", "'no-such-user'"),
    "make_sandbox(command=['true'], cwd='/no/such/folder')": ("CommandNotFound", "cwd='/no/such/folder'"),
    "make_sandbox(hostname='a b')": ("SpecError", "hostname(7)"),
    "make_sandbox(image='dir:/no/such/folder')": ("ImageError", "/no/such/folder"),
    "make_sandbox(image='tar:/no/such/file')": ("ImageError", "/no/such/file"),
    "make_sandbox(image='tar:/etc/passwd')": ("ImageError", "/etc/passwd"),
    "make_sandbox(image='Alpine')": ("ImageError", "alpine"),
    "make_sandbox(image='127.0.0.1:1/team/app:1')": ("ImageError", "127.0.0.1:1"),
    "make_sandbox(mounts=[Bind('/no/such/folder', '/mnt')])": ("SpecError", "must exist before"),
    "make_sandbox(mounts=[Bind('/usr', 'mnt')])": ("SpecError", "absolute path"),
    "make_sandbox(mounts=[Bind('/usr', '/mnt', 'rwx')])": ("SpecError", '"copy"'),
    "make_sandbox(mounts=[Bind('/usr', '/etc/passwd')])": ("SpecError", "/etc/passwd"),
    "make_sandbox(mounts=['/usr'])": ("SpecError", "Bind(src, dst)"),
    "make_sandbox(devices=['/dev/no-such-device'])": ("SpecError", "/dev/no-such-device"),
    "make_sandbox(capabilities=['+MAGIC'])": ("SpecError", "MAGIC"),
    "make_sandbox(seccomp='/no/such/profile')": ("SpecError", "OCI JSON"),
    "make_sandbox(sysctls={'vm.swappiness': '1'})": ("SpecError", "can be set for one sandbox"),
    "make_sandbox(sysctls={'net.no_such': '1'})": ("SpecError", "net.no_such"),
    "make_sandbox(rlimits={'files': 1})": ("SpecError", "the names are core"),
    "make_sandbox(scratch='disk', disk='1G')": ("HostUnsupported", "disk="),
}


@pytest.fixture
def project(runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    return tmp_path


def _pytest(*arguments: str) -> str:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


def _sections(output: str) -> dict[int, str]:
    """What is shown of each failed test, by its number."""
    parts = re.split(r"^_+ (?:ERROR at setup of )?test_(\d+) _+$", output, flags=re.MULTILINE)
    return {int(number): text.partition("\n=====")[0] for number, text in zip(parts[1::2], parts[2::2], strict=True)}


def _shows_ours(text: str, package: str = "(pytest_)?lxsandbox") -> bool:
    return bool(re.search(rf'/{package}/[^"\n]*\.py(:\d|", line)', text))


@pytest.mark.parametrize("style", ["long", "short", "native"])
def test_every_mistake_is_one_message_at_the_users_line(project: Path, style: str) -> None:
    names = [f"def test_{number}(sandbox, make_sandbox):\n    {call}\n" for number, call in enumerate(MISTAKES)]
    (project / "test_it.py").write_text("from lxsandbox import Bind\n" + "\n".join(names))
    shown = _sections(_pytest(f"--tb={style}"))
    package = "lxsandbox" if style == "native" else "(pytest_)?lxsandbox"  # that style shows the hooks of every plugin
    wrong = []
    for number, (call, (kind, text)) in enumerate(MISTAKES.items()):
        section = shown.get(number, "nothing")
        if not (re.search(rf"\b{kind}: ", section) and text in section and call in section) or _shows_ours(section, package):
            wrong.append(f"{call}:\n{section}")
    assert wrong == []


def test_in_a_fixture_it_is_the_message_and_the_line_alone(project: Path) -> None:
    faulty = [call for call in MISTAKES if MISTAKES[call][0].endswith(("SpecError", "NotFound", "ImageError"))]
    names = [
        f"@pytest.fixture\ndef box_{number}(sandbox, make_sandbox):\n    {call}\ndef test_{number}(box_{number}): ...\n"
        for number, call in enumerate(faulty)
    ]
    (project / "test_it.py").write_text("import pytest\nfrom lxsandbox import Bind\n" + "\n".join(names))
    shown = _sections(_pytest())
    for number, call in enumerate(faulty):
        kind, text = MISTAKES[call]
        assert re.match(rf"\n?{kind}: ", shown[number]), shown[number]
        assert text in shown[number]
        assert f"in box_{number}" in shown[number]
        assert not _shows_ours(shown[number])


def test_a_mistake_in_a_teardown_is_shown_at_its_line_too(project: Path) -> None:
    (project / "test_it.py").write_text(
        "import pytest\n@pytest.fixture\ndef box(sandbox):\n    yield sandbox\n    sandbox.run('ls')\ndef test_it(box): ...\n"
    )
    output = _pytest()
    assert "SpecError: args='ls' is a string" in output
    assert not _shows_ours(output)


def test_with_full_trace_our_own_lines_are_shown(project: Path) -> None:
    (project / "test_it.py").write_text("def test_it(sandbox): sandbox.run('ls')\n")
    assert _shows_ours(_pytest("--full-trace"))
