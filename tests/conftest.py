"""Every test leaves nothing behind, and says what it needs of the host."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator

import leaks
import needs
import pytest

from pytest_lxsandbox import session, workers


def pytest_configure(config: pytest.Config) -> None:
    leaks.adopt_orphans()
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # a shell starts what it puts in the background so
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if "LXSANDBOX_RUNTIME_DIR" not in os.environ:  # a worker of xdist has it from its controller
        folder = tempfile.mkdtemp(prefix="suite-runs-")
        os.environ["LXSANDBOX_RUNTIME_DIR"] = folder  # no other run of this user is seen, counted or cleaned up
        config.add_cleanup(lambda: _remove_base(folder))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    needs.check(item)


@pytest.fixture(autouse=True)
def nothing_is_left_behind(pytestconfig: pytest.Config) -> Iterator[None]:
    """Fails a test after which there is more than before. Set up first of a test's own fixtures, so torn down last."""
    session_run = workers.run_name(pytestconfig)
    if leaks.SHARED_RUN:
        session._run_of(pytestconfig)  # now: whether another worker has begun the run says nothing of this one's connection
    before = leaks.Holdings.now(session_run)
    yield
    left = leaks.left_behind(before, session_run)
    if left:
        lines = [f"  {kind}: {name}" for kind, names in left.items() for name in names]
        pytest.fail("this test has left behind:\n" + "\n".join(lines), pytrace=False)


def _remove_base(folder: str) -> None:
    os.environ.pop("LXSANDBOX_RUNTIME_DIR", None)
    shutil.rmtree(folder)
