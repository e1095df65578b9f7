"""A client on a host that really lacks something: one error with the one fix, and a kind that can be skipped on request."""

from __future__ import annotations

import errno
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from faults.runs import Runs
from needs import needs

from lxsandbox.sandbox.sandbox import Sandbox

pytestmark = needs("user-namespaces", "overlayfs", "libseccomp")

ONE_SANDBOX = """
import sys
from lxsandbox import Sandbox, SandboxError
try:
    with Sandbox(**eval(sys.argv[1])) as box:
        print("ran", *box.run(["true"]).stdout.split())
except SandboxError as error:
    print(type(error).__name__, error.message, sep=": ")
    print(*error.__notes__, sep="\\n")
"""
# What container runtimes do to root without CAP_SYS_ADMIN: clone3 is not there, and the other ways are refused.
CLONE3, UNSHARE, MOUNT, FSOPEN = 435, 272, 165, 430
AS_IN_A_CONTAINER = (
    [(0x20, 0, 0, 0), (0x15, 0, 1, CLONE3), (6, 0, 0, 0x50000 | errno.ENOSYS)]
    + [line for number in (UNSHARE, MOUNT, FSOPEN) for line in ((0x15, 0, 1, number), (6, 0, 0, 0x50000 | errno.EPERM))]
    + [(6, 0, 0, 0x7FFF0000)]
)
CONFINED = f"""
from lxsandbox.syscalls import privileges
privileges.forbid_new_privileges()
privileges.install_seccomp_filter({b"".join(struct.pack("HBBI", *line) for line in AS_IN_A_CONTAINER)!r})
"""
ROOT_OF_A_USER_NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-ec", '{script}\nexec "$@"', "sh")
NO_MORE_NAMESPACES = "echo 0 > /proc/sys/user/max_user_namespaces"


def _after(script: str, *, unshare: tuple[str, ...] = ROOT_OF_A_USER_NAMESPACE) -> tuple[str, ...]:
    return tuple(word.format(script=script) for word in unshare)


def _one_sandbox(*, after: tuple[str, ...] = (), before: str = "", fields: str = "{}") -> list[str]:
    command = [*after, sys.executable, "-c", before + ONE_SANDBOX, fields]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    return done.stdout.splitlines()


@needs("unshare")
def test_without_user_namespaces_it_is_the_sysctl(runs: Runs) -> None:
    said, *hint = _one_sandbox(after=_after(NO_MORE_NAMESPACES))
    assert said.startswith("HostUnsupported: this host lets you make no user namespace")
    assert hint == ["hint: sysctl -w user.max_user_namespaces=15000"]


@needs("unshare")
@pytest.mark.parametrize("policy", ["fail", "skip"])
def test_pytest_says_so_for_each_test_or_skips_it(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    monkeypatch.delenv("LXSANDBOX_MUST_RUN", raising=False)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    monkeypatch.chdir(tmp_path)
    Path("pytest.ini").write_text("[pytest]\n")
    Path("test_it.py").write_text("def test_set_up(sandbox): ...\ndef test_call(make_sandbox): make_sandbox()\n")
    pytest_command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rs", f"--sandbox-unsupported={policy}"]
    done = subprocess.run([*_after(NO_MORE_NAMESPACES), *pytest_command], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    assert ("1 failed, 1 error" if policy == "fail" else "2 skipped") in done.stdout
    assert done.stdout.count("hint: sysctl -w user.max_user_namespaces=15000") == 2 if policy == "fail" else 1
    assert "Traceback" not in done.stdout
    assert "/lxsandbox/" not in done.stdout.replace("~/.cache/lxsandbox", "")


def test_in_a_container_that_lets_nobody_make_namespaces_it_is_said(runs: Runs) -> None:
    # A sandbox of ours is such a container: own namespaces, few capabilities, a system call filter.
    environment = {"PYTHONPATH": ":".join(sys.path), "LXSANDBOX_RUNTIME_DIR": "/tmp/runs"}
    with Sandbox(memory=None) as box:
        done = box.run([sys.executable, "-c", ONE_SANDBOX, "{}"], env=environment, timeout=60)
        assert done.stderr == ""
        said, hint = done.stdout.splitlines()
        assert said.startswith("HostUnsupported: this host lets you make no user namespace: EPERM")
        assert hint.startswith("hint: ")
        assert box.check_output(["ls", "/tmp/runs"]) == ""


def test_a_sandbox_that_allows_nesting_has_sandboxes_inside(runs: Runs) -> None:
    environment = {"PYTHONPATH": ":".join(sys.path), "LXSANDBOX_RUNTIME_DIR": "/tmp/runs"}
    with Sandbox(nesting=True) as box:
        done = box.run([sys.executable, "-c", ONE_SANDBOX, "{}"], env=environment, timeout=60)
        assert (done.stdout, done.stderr) == ("ran\n", "")


def test_under_the_filter_of_a_container_runtime_it_is_said(runs: Runs) -> None:
    said, hint = _one_sandbox(before=CONFINED)
    assert said.startswith("HostUnsupported: this host lets you make no user namespace: ")
    assert hint.startswith("hint: ")


# The root of a container, with "lower" as its lower layer, in the place of /.
OVERLAY_ROOT = """
mount -t tmpfs none {point}; mkdir {point}/upper {point}/work {point}/root
mount -t overlay -o lowerdir={lower},upperdir={point}/upper,workdir={point}/work none {point}/root
"""
ENTER = """
for each in proc sys dev run tmp; do mount --rbind /$each {root}/$each; done
cd {root}; pivot_root . mnt; umount -l mnt
"""
IN_A_CONTAINER = OVERLAY_ROOT.format(point="/mnt", lower="/") + ENTER.format(root="/mnt/root")
IN_A_CONTAINER_IN_A_CONTAINER = (
    OVERLAY_ROOT.format(point="/mnt", lower="/")
    + OVERLAY_ROOT.format(point="/media", lower="/mnt/root")
    + ENTER.format(root="/media/root")
)
MOUNTS = ("unshare", "--mount", "--propagation", "private", "sh", "-ec", '{script}\nexec "$@"', "sh")


@needs("root", "unshare")
def test_a_plain_user_in_a_container_has_sandboxes(runs: Runs) -> None:
    inside = (*_after(IN_A_CONTAINER, unshare=MOUNTS), *_after("true"))
    assert _one_sandbox(after=inside) == ["ran"]


@needs("root", "unshare")
def test_where_overlays_are_stacked_too_deep_it_is_said(runs: Runs) -> None:
    # The kernel stacks two, see FILESYSTEM_MAX_STACK_DEPTH.
    inside = (*_after(IN_A_CONTAINER_IN_A_CONTAINER, unshare=MOUNTS), *_after("true"))
    said, hint = _one_sandbox(after=inside)
    assert said.startswith("HostUnsupported: overlayfs ")
    assert hint.startswith("hint: ")


@needs("root", "unshare")
def test_where_the_root_cannot_be_shown_with_other_owners_it_is_said(runs: Runs) -> None:
    said, hint = _one_sandbox(after=_after(IN_A_CONTAINER_IN_A_CONTAINER, unshare=MOUNTS))
    assert said.startswith("HostUnsupported: a folder of image 'host'")
    assert hint.startswith("hint: ")


@needs("root", "unshare")
@pytest.mark.parametrize(
    ("fields", "limit"),
    [("{'memory': '64M'}", "memory"), ("{'pids': 8}", "pids"), ("{'cpus': 1}", "cpus"), ("{'io': '1M'}", "io")],
)
def test_a_limit_that_cannot_be_held_is_refused_by_name(runs: Runs, fields: str, limit: str) -> None:
    without_cgroups = _after("mount -t tmpfs none /sys/fs/cgroup", unshare=MOUNTS)
    said, hint = _one_sandbox(after=without_cgroups, fields=fields)
    assert said.startswith(f"HostUnsupported: {limit}=")
    assert "cannot be held" in said
    assert hint.startswith("hint: ")
    assert _one_sandbox(after=without_cgroups) == ["ran"]


@needs("unshare")
def test_with_a_single_id_another_user_is_refused_and_root_is_not(runs: Runs) -> None:
    single = _after("true")
    said, hint = _one_sandbox(after=single, fields="{'user': 'nobody'}")
    assert said.startswith("HostUnsupported: user='nobody' needs more ids")
    assert "newuidmap" in hint
    assert _one_sandbox(after=single, fields="{'user': 'root'}") == ["ran"]
