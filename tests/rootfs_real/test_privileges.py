"""What a sandbox may do: capabilities, system calls, nesting, devices."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from needs import needs

from lxsandbox import Sandbox
from lxsandbox.errors import SandboxError, SpecError
from lxsandbox.security import capabilities

pytestmark = needs("user-namespaces", "overlayfs")

Make = Callable[..., Sandbox]


def held(box: Sandbox) -> dict[str, int]:
    """The capability sets of a command, by the names in /proc/PID/status."""
    lines = box.check_output(["cat", "/proc/self/status"]).splitlines()
    return {line.split(":")[0]: int(line.split()[1], 16) for line in lines if line.startswith("Cap")}


def test_a_command_holds_the_default_set_and_can_gain_no_more(make_sandbox: Make) -> None:
    default = capabilities.mask(capabilities.DEFAULT)

    assert held(make_sandbox()) == {"CapInh": 0, "CapPrm": default, "CapEff": default, "CapBnd": default, "CapAmb": 0}
    assert "NoNewPrivs:\t1" in make_sandbox().check_output(["cat", "/proc/self/status"])


def test_a_capability_can_be_dropped(make_sandbox: Make) -> None:
    assert make_sandbox().run(["chown", "0:0", "/tmp"]).returncode == 0
    box = make_sandbox(capabilities=["-DAC_OVERRIDE"])
    box.run(["sh", "-c", "echo x > /tmp/x && chmod 000 /tmp/x"], check=True)

    assert box.run(["cat", "/tmp/x"]).returncode != 0
    assert not held(box)["CapBnd"] >> capabilities.NUMBERS["DAC_OVERRIDE"] & 1


def test_a_capability_can_be_added(make_sandbox: Make) -> None:
    script = ["/usr/bin/python3", "-I", "-S", "-c", "import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)"]

    assert make_sandbox().run(script).returncode != 0
    assert make_sandbox(capabilities=["NET_RAW"]).run(script).returncode == 0


def test_the_form_of_container_tools_has_the_same_effect(make_sandbox: Make) -> None:
    box = make_sandbox(capabilities={"add": ["NET_RAW"], "drop": ["ALL"]})

    assert held(box)["CapEff"] == 0
    assert held(make_sandbox(capabilities=["-ALL", "+NET_RAW"]))["CapEff"] == 1 << capabilities.NUMBERS["NET_RAW"]


def test_an_unknown_capability_is_refused_by_name(make_sandbox: Make) -> None:
    with pytest.raises(SpecError, match="NET_FLY"):
        make_sandbox(capabilities=["+NET_FLY"])


def test_nesting_allows_user_namespaces_and_mounts_inside(make_sandbox: Make) -> None:
    box = make_sandbox(nesting=True)

    assert box.check_output(["unshare", "-Urm", "sh", "-c", "mount -t tmpfs none /mnt && echo x > /mnt/x && id -u"]) == "0\n"
    assert box.check_output(["unshare", "-Urmpf", "--mount-proc", "sh", "-c", "echo /proc/[0-9]*"]).split()[0] == "/proc/1"


def test_by_default_neither_is_allowed(make_sandbox: Make) -> None:
    box = make_sandbox()

    for command in ("unshare -Ur true", "unshare -m true", "mount -t tmpfs none /mnt", "umount /proc"):
        done = box.run(command.split())
        assert done.returncode != 0
        assert "not permitted" in done.stderr or "permission denied" in done.stderr or "superuser" in done.stderr, done.stderr


def test_system_calls_are_filtered_unless_that_is_turned_off(make_sandbox: Make) -> None:
    status = ["grep", "Seccomp:", "/proc/self/status"]

    assert make_sandbox().check_output(status).split() == ["Seccomp:", "2"]
    assert make_sandbox(seccomp="unconfined").check_output(status).split() == ["Seccomp:", "0"]


def test_unconfined_system_calls_reach_the_kernel(make_sandbox: Make) -> None:
    box = make_sandbox(seccomp="unconfined")

    assert box.run(["unshare", "-Ur", "true"]).returncode == 0


def test_a_profile_that_is_not_there_is_named(make_sandbox: Make) -> None:
    with pytest.raises(SandboxError, match="/no/such/profile"):
        make_sandbox(seccomp="/no/such/profile.json")


def test_a_device_is_shown_by_name(make_sandbox: Make) -> None:
    if not os.path.exists("/dev/net/tun"):
        pytest.skip("there is no /dev/net/tun")
    box = make_sandbox(devices=["/dev/net/tun"])

    assert box.check_output(["stat", "-c", "%F", "/dev/net/tun"]) == "character special file\n"
    assert not make_sandbox().path("/dev/net/tun").exists()


def test_a_device_that_is_not_there_is_named(make_sandbox: Make) -> None:
    with pytest.raises(SpecError, match="/dev/no-such"):
        make_sandbox(devices=["/dev/no-such"])


def test_no_device_can_be_made_inside(make_sandbox: Make) -> None:
    box = make_sandbox()

    box.run(["sh", "-c", "mknod /tmp/disk b 8 0; mknod /tmp/mem c 1 1"])
    assert box.run(["sh", "-c", "head -c 1 /tmp/disk || head -c 1 /tmp/mem"]).returncode != 0
