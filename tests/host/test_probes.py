"""What is said of a host that has it all, and of one where something is really missing."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from needs import needs

from lxsandbox.errors import SpecError
from lxsandbox.host import NAMES, REQUIRED, Capability, probe

Answers = dict[str, dict[str, Any]]
Probe = Callable[..., Answers]

# What AppArmor does to a plain user on Ubuntu 24.04, done by seccomp: the unshare passes, mounts inside do not.
DENY_MOUNTS = """
import errno, struct
from lxsandbox.syscalls import privileges
FSOPEN = 430
program = [(0x20, 0, 0, 0), (0x15, 0, 1, FSOPEN), (6, 0, 0, 0x50000 | errno.EPERM), (6, 0, 0, 0x7FFF0000)]
privileges.forbid_new_privileges()
privileges.install_seccomp_filter(b"".join(struct.pack("HBBI", *line) for line in program))
"""


def _lacking(found: list[Capability]) -> dict[str, str]:
    return {capability.name: capability.detail for capability in found if not capability.ok}


@needs("user-namespaces", "overlayfs", "libseccomp")
def test_a_host_that_starts_sandboxes_lacks_nothing_required() -> None:
    assert _lacking(probe(sorted(REQUIRED))) == {}


@needs("root", "user-namespaces", "cgroup-memory", "cgroup-pids", "cgroup-cpu", "cgroup-io", "cgroup-freezer")
def test_root_has_id_ranges_and_every_limit() -> None:
    names = ["sub-ids", "cgroup-memory", "cgroup-pids", "cgroup-cpu", "cgroup-io", "cgroup-freezer"]
    assert _lacking(probe(names)) == {}


def test_every_capability_is_answered_for_in_order() -> None:
    found = probe()
    assert [capability.name for capability in found] == list(NAMES)
    assert all(capability.detail for capability in found)


def test_a_lack_has_a_consequence_and_a_fix_and_the_rest_has_none() -> None:
    for capability in probe():
        assert bool(capability.consequence) is not capability.ok
        assert bool(capability.fix) is not capability.ok


def test_an_unknown_capability_is_an_error_that_lists_those_there_are() -> None:
    with pytest.raises(SpecError) as caught:
        probe(["telepathy"])
    assert "telepathy" in caught.value.message
    assert "overlayfs" in caught.value.hint


def test_probing_changes_neither_this_process_nor_the_host() -> None:
    def state() -> tuple[object, ...]:
        namespaces = [os.readlink(f"/proc/self/ns/{name}") for name in sorted(os.listdir("/proc/self/ns"))]
        mounts = Path("/proc/self/mountinfo").read_text()
        left = [name for name in os.listdir("/var/tmp") if name.startswith("lxsandbox-probe-")]
        return namespaces, mounts, left, Path("/proc/self/cgroup").read_text(), len(os.listdir("/proc/self/fd"))

    before = state()
    probe()
    assert state() == before


def test_probing_works_from_a_thread() -> None:
    found: list[Capability] = []
    thread = threading.Thread(target=lambda: found.extend(probe(["pidfd"])))
    thread.start()
    thread.join()
    assert [capability.ok for capability in found] == [True]


@needs("user-namespaces", "unshare")
def test_no_user_namespaces_left_is_seen_and_the_sysctl_named(probe_after: Probe) -> None:
    found = probe_after("echo 0 > /proc/sys/user/max_user_namespaces", "user-namespaces", "overlayfs", "pidfd")
    assert found["user-namespaces"]["fix"] == "sysctl -w user.max_user_namespaces=15000"
    assert found["user-namespaces"]["consequence"] == "no sandbox can start"
    assert not found["overlayfs"]["ok"]
    assert found["pidfd"]["ok"]


@needs("user-namespaces", "unshare")
def test_no_network_namespaces_left_is_told_from_no_user_namespaces(probe_after: Probe) -> None:
    found = probe_after("echo 0 > /proc/sys/user/max_net_namespaces", "user-namespaces", "netns")
    assert found["user-namespaces"]["ok"]
    assert found["netns"]["fix"] == "sysctl -w user.max_net_namespaces=15000"


@needs("user-namespaces", "unshare")
def test_a_refused_mount_is_no_user_namespace_though_the_unshare_passes(probe_after: Probe) -> None:
    apparmor = "mount -t tmpfs none /proc/sys/kernel; echo 1 > /proc/sys/kernel/apparmor_restrict_unprivileged_userns"
    found = probe_after(apparmor, "user-namespaces", before=DENY_MOUNTS)["user-namespaces"]
    assert not found["ok"]
    assert "AppArmor" in found["detail"]
    assert found["fix"] == "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"


@needs("user-namespaces", "unshare")
def test_a_proc_with_a_part_mounted_over_is_named(probe_after: Probe) -> None:
    found = probe_after("mount -t tmpfs none /proc/tty", "proc-mount", "user-namespaces")
    assert found["user-namespaces"]["ok"]
    assert "/proc/tty" in found["proc-mount"]["detail"]
    assert "systempaths=unconfined" in found["proc-mount"]["fix"]


@needs("user-namespaces", "unshare", "libseccomp")
def test_a_missing_libseccomp_is_named_with_the_package_that_has_it(probe_after: Probe) -> None:
    ldconfig = subprocess.run(["ldconfig", "-p"], capture_output=True, text=True, check=True, env={"PATH": "/usr/sbin:/sbin"})
    library = next(line.split()[-1] for line in ldconfig.stdout.splitlines() if "libseccomp.so.2" in line)
    found = probe_after(f"mount --bind /dev/null {library}", "seccomp")["seccomp"]
    assert not found["ok"]
    assert "libseccomp" in found["fix"]


@needs("user-namespaces", "unshare")
def test_a_host_without_cgroups_holds_no_limit_and_says_what_to_do(probe_after: Probe) -> None:
    names = [name for name in NAMES if "cgroup" in name]
    found = probe_after("mount -t tmpfs none /sys/fs/cgroup", *names)
    lacking = {name: answer["fix"] for name, answer in found.items() if not answer["ok"]}
    assert set(lacking) | {"cgroup-swap"} == set(names)  # a machine without swap needs no limit on it
    assert all(lacking.values())


@needs("user-namespaces", "overlayfs", "unshare")
def test_a_cache_on_an_overlay_is_named_since_no_upper_can_be_there(probe_after: Probe) -> None:
    overlay = "mount -t overlay -o userxattr,lowerdir=l,upperdir=u,workdir=w overlay cache"
    setup = f"mount -t tmpfs none /mnt; cd /mnt; mkdir l u w cache; {overlay}; cd /"
    found = probe_after(setup, "disk-kind", env={"XDG_CACHE_HOME": "/mnt/cache"})["disk-kind"]
    assert not found["ok"]
    assert "/mnt/cache on overlay" in found["detail"]


@needs("user-namespaces")
def test_a_plain_user_without_newuidmap_maps_a_single_id(probe_as_plain_user: Probe) -> None:
    found = probe_as_plain_user("sub-ids", env={"PATH": "/nonexistent"})["sub-ids"]
    assert not found["ok"]
    assert "newuidmap is not in PATH; a single id is mapped" in found["detail"]
    assert "sudo " in found["fix"]


@needs("user-namespaces", "newuidmap", "setpriv", "root")
def test_a_plain_user_without_a_range_is_told_how_to_get_one_that_is_free(probe_as_plain_user: Probe) -> None:
    owners = Path("/etc/subuid").read_text() if Path("/etc/subuid").exists() else ""
    if "nobody:" in owners:
        pytest.skip("nobody has a range of ids here")
    found = probe_as_plain_user("sub-ids")["sub-ids"]
    assert found["detail"] == "/etc/subuid has no range for this user; a single id is mapped"
    start, end = found["fix"].split()[3].split("-")
    assert int(end) - int(start) == 65_535
    assert found["fix"].endswith(" nobody")
