"""Workers of pytest-xdist: one service for all, figures added up, and a worker that dies takes its own with it."""

import os
from pathlib import Path

import pytest
from needs import needs

pytestmark = needs("user-namespaces", "overlayfs")

_PARENT_OF = """
    import os
    from pathlib import Path
    import pytest

    def parent_of(pid):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
"""


def test_all_workers_share_one_service(pytester: pytest.Pytester) -> None:
    os.mkfifo("meeting")
    pytester.makepyfile(
        _PARENT_OF
        + """
    @pytest.fixture(scope="session", autouse=True)
    def both_are_connected(worker_id, sandbox_factory):
        sandbox_factory()
        # The opening of either end of a FIFO waits for the other.
        os.close(os.open("meeting", os.O_RDONLY if worker_id == "gw0" else os.O_WRONLY))

    @pytest.mark.parametrize("x", range(2))
    def test_it(sandbox, x, worker_id):
        with Path("services").open("a") as file:
            file.write(f"{worker_id} {parent_of(sandbox.pid)}\\n")
        assert "lxsandbox.service" in Path(f"/proc/{parent_of(sandbox.pid)}/cmdline").read_text()
        """
    )

    result = pytester.runpytest("-n2", "--dist=each")

    result.assert_outcomes(passed=4)
    lines = [line.split() for line in Path("services").read_text().splitlines()]
    assert {worker for worker, _ in lines} == {"gw0", "gw1"}
    assert len({service for _, service in lines}) == 1
    result.stdout.fnmatch_lines(["sandboxes: 6, *", "leaked: 0 processes, 0 mounts, 0 cgroups, 0 links"])


def test_a_worker_that_dies_takes_its_sandboxes_with_it(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        _PARENT_OF
        + """
    def test_dies(sandbox):
        Path("pid").write_text(str(sandbox.pid))
        os._exit(1)

    def test_lives(sandbox):
        sandbox.run(["true"], check=True)
        """
    )

    result = pytester.runpytest("-n1", "--max-worker-restart=1")

    result.assert_outcomes(passed=1, failed=1)
    assert not Path("/proc", Path("pid").read_text()).exists()
    result.stdout.fnmatch_lines(["leaked: 0 processes, 0 mounts, 0 cgroups, 0 links"])
