"""What is looked at in a Debian system that runs as a sandbox."""

from __future__ import annotations

from lxsandbox import Sandbox

__all__ = ["check_debian"]


def check_debian(box: Sandbox, suite: str) -> None:
    """It is of that suite, whole by its own package manager, and has users who can do what users can."""
    assert f"VERSION_CODENAME={suite}\n" in box.check_output(["cat", "/etc/os-release"])
    assert box.check_output(["dpkg", "--audit"]) == ""
    assert box.check_output(["dpkg-query", "--show", "--showformat=${db:Status-Abbrev}", "libc6"]) == "ii "
    assert box.check_output(["stat", "--format=%U:%G %a", "/var/mail", "/tmp"]) == "root:mail 2775\nroot:root 1777\n"
    assert box.check_output(["perl", "-e", "print scalar getpwuid($<)"], user="daemon") == "daemon"
    assert box.run(["ls", "/root"], user="daemon").returncode == 2
