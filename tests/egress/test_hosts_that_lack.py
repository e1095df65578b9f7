"""Hosts on which there is no way out: one error, with what to install or to change, and everything else goes on."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from needs import needs

from lxsandbox import Sandbox
from lxsandbox.errors import HostUnsupported
from lxsandbox.host import probe
from lxsandbox.sandbox.connection import ServiceConnection

pytestmark = needs("user-namespaces", "overlayfs")

SOCKET, AF_NETLINK, NETLINK_NETFILTER = 41, 16, 12
ALLOW, REFUSE = (6, 0, 0, 0x7FFF0000), (6, 0, 0, 0x50000 | errno.EPROTONOSUPPORT)
WITHOUT_NFTABLES = [
    *((0x20, 0, 0, 0), (0x15, 0, 5, SOCKET)),
    *((0x20, 0, 0, 16), (0x15, 0, 3, AF_NETLINK)),
    *((0x20, 0, 0, 32), (0x15, 0, 1, NETLINK_NETFILTER)),
    *(REFUSE, ALLOW),
]
PROGRAM = f"""
from lxsandbox import HostUnsupported, Sandbox
from lxsandbox.host import probe
from lxsandbox.syscalls import privileges
privileges.forbid_new_privileges()
privileges.install_seccomp_filter({b"".join(struct.pack("HBBI", *line) for line in WITHOUT_NFTABLES)!r})
try:
    Sandbox(egress=True)
except HostUnsupported as error:
    print(error.capability, error.message, error.hint, sep="; ")
with Sandbox() as box:
    print(box.run(["true"]).returncode)
(found,) = probe(["egress"])
print(found.ok, found.required, found.fix)
"""


def test_a_host_without_a_program_for_it_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LXSANDBOX_OUTLET", "no-such-program")
    connection = ServiceConnection.open()
    try:
        with pytest.raises(HostUnsupported, match="egress needs slirp4netns or pasta, and this host has neither") as raised:
            Sandbox(egress=True, connection=connection)
        with Sandbox(connection=connection) as box:
            assert box.run(["true"]).returncode == 0
    finally:
        connection.leave()

    assert raised.value.capability == "egress"
    assert "slirp4netns" in raised.value.hint


def test_doctor_names_it_too_and_no_sandbox_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LXSANDBOX_OUTLET", "no-such-program")

    (found,) = probe(["egress"])

    assert not found.ok
    assert not found.required
    assert "slirp4netns" in found.fix


@needs("egress")
def test_where_it_is_there_doctor_says_how_it_was_tried() -> None:
    (found,) = probe(["egress"])

    assert found.ok
    assert "made its tap" in found.detail


@needs("egress")
def test_a_program_that_does_not_work_is_not_the_last_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "slirp4netns"
    broken.write_text("#!/bin/sh\necho it is broken >&2\nexit 3\n")
    broken.chmod(0o755)
    tmp_path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("LXSANDBOX_OUTLET", "slirp4netns")
    connection = ServiceConnection.open()
    try:
        with pytest.raises(HostUnsupported, match="slirp4netns: it is broken"):
            Sandbox(egress=True, connection=connection)
    finally:
        connection.leave()

    (found,) = probe(["egress"])
    assert "it is broken" in found.detail


@needs("egress", "root")
def test_a_kernel_without_nftables_is_refused_by_name() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False)

    refusal, returncode, probed = done.stdout.splitlines()
    assert refusal.startswith("egress; this kernel cannot filter what leaves, by nftables: ")
    assert "modprobe -a nf_tables" in refusal
    assert returncode == "0"
    assert probed.startswith("False False ")
    assert "modprobe -a nf_tables" in probed
