"""`Healthy`: the HEALTHCHECK of real images, built over the host's own files."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from needs import needs
from readiness.conftest import A_MOMENT

from lxsandbox import Healthy, Port, Sandbox
from lxsandbox.errors import NotReady, SpecError
from lxsandbox.sandbox.connection import ServiceConnection

pytestmark = needs("user-namespaces", "overlayfs")

Over = Callable[..., Sandbox]


@pytest.fixture
def over(monkeypatch: pytest.MonkeyPatch) -> Iterator[Over]:
    """A sandbox over an image with these lines in its Containerfile, in a store of the test's own."""
    with tempfile.TemporaryDirectory(prefix="health-", ignore_cleanup_errors=True) as place:
        Path(place).chmod(0o755)
        monkeypatch.setenv("XDG_CACHE_HOME", f"{place}/cache")
        connection = ServiceConnection.open()

        def over(lines: str, **fields: object) -> Sandbox:
            folder = Path(tempfile.mkdtemp(dir=place))
            (folder / "Containerfile").write_text(f"FROM host\n{lines}\n")
            return boxes.enter_context(Sandbox(f"build:{folder}", connection=connection, **fields))

        with ExitStack() as boxes:
            yield over
        connection.leave()
        if os.geteuid() != 0:
            subprocess.run(["unshare", "--user", "--map-root-user", "--map-auto", "rm", "-rf", f"{place}/cache"], check=False)


def test_a_check_is_run_until_it_succeeds_at_short_intervals(over: Over) -> None:
    check = 'HEALTHCHECK --interval=1h CMD echo try >> /run/tries; test "$(wc -l < /run/tries)" -gt 3 && test "$A" = b'
    box = over(f"ENV A=b\n{check}", command=["sleep", "1000"], ready=Healthy())
    assert box.path("/run/tries").read_text() == "try\n" * 4


def test_a_check_may_be_a_command_without_a_shell(over: Over) -> None:
    box = over('HEALTHCHECK CMD ["test", "-e", "/run/healthy"]')
    with pytest.raises(NotReady, match="the check: exit code 1"):
        box.wait_until(Healthy(), timeout=A_MOMENT)
    box.path("/run/healthy").write_text("")
    box.wait_until(Healthy())


def test_a_check_that_takes_too_long_is_killed_and_run_again(over: Over) -> None:
    box = over("HEALTHCHECK --timeout=100ms CMD echo slow; mkdir /run/first && sleep 1000")
    with pytest.raises(NotReady, match=r"did not end within 0.1 s, it printed 'slow'|exit code 1"):
        box.wait_until(Healthy(), timeout=3 * A_MOMENT)
    assert "sleep 1000" not in box.check_output(["ps", "ax"])


@pytest.mark.parametrize("lines", ["", "HEALTHCHECK NONE"])
def test_without_a_check_the_wait_fails_at_once(over: Over, lines: str) -> None:
    with pytest.raises(SpecError, match="has no health check"):
        over(lines).wait_until(Port(1) & Healthy(), timeout=1000)


def test_the_host_itself_has_no_check(sandbox: Sandbox) -> None:
    with pytest.raises(SpecError, match="image 'host' has no health check") as caught:
        sandbox.wait_until(Healthy() | Port(1), timeout=1000)
    assert "HEALTHCHECK" in caught.value.hint
