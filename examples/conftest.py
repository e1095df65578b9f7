"""What the examples with servers of the system share: each names the programs that it runs in its sandboxes."""

from __future__ import annotations

import shutil

import pytest

from lxsandbox import HostUnsupported

PACKAGES = {"etcd": "etcd-server", "etcdctl": "etcd-client", "nginx": "nginx-light", "redis-server": "redis-server"}
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # a plain user's own lacks the sbin folders


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "programs(*names): programs of this host that the example runs in its sandboxes")


@pytest.fixture(autouse=True)
def programs_are_there(request: pytest.FixtureRequest) -> None:
    """Skips the example, or fails it (`--sandbox-unsupported`), where one of its programs is not installed."""
    for mark in request.node.iter_markers("programs"):
        for name in mark.args:
            if shutil.which(name, path=SYSTEM_PATH) is None:
                raise HostUnsupported(f"this example runs {name}, which is not installed", hint=f"apt install {PACKAGES[name]}")
