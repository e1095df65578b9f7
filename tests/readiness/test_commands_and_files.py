"""`Command` and `File`: looked at from inside, and nothing left running."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from events import until
from needs import needs
from readiness.conftest import A_MOMENT, Holds, Make

from lxsandbox import Command, File
from lxsandbox.errors import CommandNotFound, NotReady, SpecError

pytestmark = needs("user-namespaces", "overlayfs")


def test_a_command_is_run_until_it_succeeds(make_sandbox: Make, apart: ThreadPoolExecutor) -> None:
    box = make_sandbox(env={"FILE": "/run/go"})
    waiting = apart.submit(box.wait_until, Command(["sh", "-c", 'echo . >> /run/tries; test -e "$FILE"']))
    until(lambda: box.path("/run/tries").exists() and box.path("/run/tries").stat().st_size > 4, "it was tried a few times")
    assert not waiting.done()

    box.path("/run/go").write_text("")
    waiting.result(timeout=30)


def test_a_command_has_the_environment_that_it_is_given(make_sandbox: Make) -> None:
    box = make_sandbox()
    box.wait_until(Command(["sh", "-c", 'test "$A" = b && test "$(id -u)" = 0'], env={"A": "b"}))


@needs("id-range")
def test_a_command_is_run_as_the_user_that_is_named(make_sandbox: Make) -> None:
    make_sandbox().wait_until(Command(["sh", "-c", 'test "$(id -u)" = 12'], user=12))


def test_what_a_command_said_last_is_told(alone: Make, holds: Holds) -> None:
    box = alone()
    before = holds(box)
    noisy = Command(["sh", "-c", "head -c 300000 /dev/zero | tr '\\0' x; echo no luck >&2; exit 7"])
    with pytest.raises(NotReady) as caught:
        box.wait_until(noisy & Command(["false"]) & Command(["sh", "-c", "sleep 1000 & sleep 1000"]), timeout=4 * A_MOMENT)

    seen = [seen for _, seen in caught.value.seen]
    assert seen[0].startswith("exit code 7, it printed 'xxx")
    assert seen[0].endswith(r"no luck'")
    assert seen[1:] == ["exit code 1", "it has not ended yet"]
    until(lambda: holds(box) == before, "what ran has been killed, with all that it has started")


def test_a_command_that_is_not_there_fails_the_wait_at_once(alone: Make, holds: Holds) -> None:
    box = alone()
    before = holds(box)
    with pytest.raises(CommandNotFound, match="pg_isready_or_not"):
        box.wait_until(Command(["sleep", "1000"]) | Command(["pg_isready_or_not"]), timeout=1000)
    with pytest.raises(SpecError, match="nobody-of-this-name"):
        box.wait_until(Command(["true"], user="nobody-of-this-name"), timeout=1000)
    until(lambda: holds(box) == before, "the other command has been killed")


def test_a_file_is_waited_for(make_sandbox: Make, apart: ThreadPoolExecutor) -> None:
    box = make_sandbox()
    anything = apart.submit(box.wait_until, File("/run/app/ready"))
    full = apart.submit(box.wait_until, File("/run/app/ready", contains="42"))
    with pytest.raises(NotReady, match="it is not there"):
        box.wait_until(File("/run/app/ready"), timeout=A_MOMENT)

    box.path("/run/app").mkdir()
    box.path("/run/app/ready").write_text("pid 4")
    anything.result(timeout=30)
    with pytest.raises(NotReady, match="it has 5 bytes, and that text is not among them"):
        box.wait_until(File("/run/app/ready", contains="42"), timeout=A_MOMENT)
    assert not full.done()
    box.path("/run/app/ready").write_text("pid 42")
    full.result(timeout=30)


def test_a_folder_and_a_pipe_are_there_and_have_no_text(make_sandbox: Make) -> None:
    box = make_sandbox()
    box.run(["mkfifo", "/run/pipe"], check=True)
    box.wait_until(File("/run") & File("/run/pipe"))
    with pytest.raises(NotReady) as caught:
        box.wait_until(File("/run", contains="x") & File("/run/pipe", contains="x"), timeout=A_MOMENT)
    assert all("cannot be read" in seen for _, seen in caught.value.seen)


def test_a_link_leads_nowhere_but_inside(make_sandbox: Make) -> None:
    box = make_sandbox()
    box.run(["ln", "-s", "/../../../../proc/1/root/run/there", "/run/link"], check=True)
    with pytest.raises(NotReady):
        box.wait_until(File("/run/link"), timeout=A_MOMENT)
