"""The folder of a run: only a safe one is used, and only a dead one is removed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from events import line_from
from needs import needs

from lxsandbox import Sandbox
from lxsandbox.errors import SandboxError, SpecError
from lxsandbox.service import run_folder
from lxsandbox.service.leftovers import leave_run, remove_dead_runs

HOLDER = "import sys; from lxsandbox.service.run_folder import hold; print(hold(sys.argv[1]), flush=True); sys.stdin.read()"

Hold = Callable[[str], subprocess.Popen[bytes]]


@pytest.fixture
def base(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the runs of this test are."""
    with tempfile.TemporaryDirectory(prefix="lx-") as folder:
        monkeypatch.setenv("LXSANDBOX_RUNTIME_DIR", f"{folder}/runs")
        yield Path(folder, "runs")
        for held in [path for path in run_folder._held if path.startswith(folder)]:
            run_folder.let_go(held)


@pytest.fixture
def held_by_another() -> Iterator[Hold]:
    """Another process that holds a run until it is ended."""
    started: list[subprocess.Popen[bytes]] = []
    environment = {**os.environ, "PYTHONPATH": ":".join(path for path in sys.path if path)}

    def held_by_another(folder: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", HOLDER, folder]
        started.append(subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0))
        assert started[-1].stdout is not None
        assert line_from(started[-1].stdout) == "True"
        return started[-1]

    yield held_by_another
    for process in started:
        process.kill()
        process.communicate()


def test_a_run_has_a_private_folder_of_a_fresh_name(base: Path) -> None:
    one, other = run_folder.make_run_folder(), run_folder.make_run_folder()

    assert one != other
    for folder in (base, Path(one), Path(other)):
        assert folder.stat().st_mode & 0o7777 == 0o700


def test_a_named_run_is_the_same_for_all_who_name_it(base: Path) -> None:
    assert run_folder.make_run_folder("mine") == run_folder.make_run_folder("mine") == str(base / "mine")


@pytest.mark.parametrize("name", ["..", ".", "a/b", "/a", ".hidden", "-x", "a b", "a\n", "ä", "x" * 65, "a\0"])
def test_a_name_that_is_no_plain_file_name_is_refused(base: Path, name: str) -> None:
    with pytest.raises(SpecError, match="run name"):
        run_folder.make_run_folder(name)

    assert not base.exists() or os.listdir(base) == []


@pytest.mark.parametrize("which", ["base", "run"])
@pytest.mark.parametrize("kind", ["link", "file", "open to a group", "open to all"])
def test_a_folder_that_is_not_safe_is_refused(base: Path, which: str, kind: str) -> None:
    if which == "run":
        base.mkdir(mode=0o700)
    path = base if which == "base" else base / "mine"
    match kind:
        case "link":
            (base.parent / "elsewhere").mkdir(mode=0o700)
            path.symlink_to(base.parent / "elsewhere")
        case "file":
            path.write_text("")
        case _:
            path.mkdir()
            path.chmod(0o770 if kind == "open to a group" else 0o707)

    with pytest.raises(SandboxError, match="is not safe"):
        run_folder.make_run_folder("mine")


@needs("root")
def test_a_folder_of_somebody_else_is_refused(base: Path) -> None:
    base.mkdir(mode=0o700)
    os.chown(base, 1234, 1234)

    with pytest.raises(SandboxError, match="is not safe"):
        run_folder.make_run_folder()


def test_a_folder_that_cannot_be_made_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LXSANDBOX_RUNTIME_DIR", "/proc/none")

    with pytest.raises(SandboxError, match="cannot make /proc/none") as caught:
        run_folder.make_run_folder()
    assert "LXSANDBOX_RUNTIME_DIR" in caught.value.hint


def test_a_lock_file_that_is_a_link_is_not_followed(base: Path) -> None:
    (base / "mine").mkdir(mode=0o700, parents=True)
    base.chmod(0o700)
    (base / "mine" / "lock").symlink_to(base.parent / "victim")

    with pytest.raises(SandboxError, match="symbolic links"):
        run_folder.make_run_folder("mine")
    assert not (base.parent / "victim").exists()


def test_a_path_too_long_for_a_socket_is_refused_with_what_to_do(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    deep = base / ("x" * 100)
    deep.mkdir(mode=0o700)
    monkeypatch.setenv("LXSANDBOX_RUNTIME_DIR", str(deep))

    with pytest.raises(SandboxError, match="too long") as refused:
        Sandbox()

    assert "short path" in refused.value.hint
    assert list(deep.iterdir()) == []


def test_a_run_lives_as_long_as_somebody_holds_it(base: Path, held_by_another: Hold) -> None:
    folder = run_folder.make_run_folder("mine")
    other = held_by_another(folder)
    run_folder.let_go(folder)
    assert run_folder.live_runs() == [folder]
    assert not run_folder.remove_run_folder(folder)
    assert remove_dead_runs() == []

    other.kill()
    other.wait()

    assert run_folder.dead_runs() == [folder]
    assert remove_dead_runs() == ["mine"]
    assert os.listdir(base) == []


def test_ones_own_run_is_never_dead(base: Path) -> None:
    folder = run_folder.make_run_folder("mine")

    assert run_folder.dead_runs() == []
    assert run_folder.live_runs() == [folder]


def test_the_last_to_leave_removes_it(base: Path, held_by_another: Hold) -> None:
    folder = run_folder.make_run_folder("mine")
    other = held_by_another(folder)
    leave_run(folder)
    assert os.path.isdir(folder)
    other.kill()
    other.wait()

    assert run_folder.hold(folder)
    leave_run(folder)

    assert not os.path.exists(folder)


def test_what_a_dead_run_left_is_removed_without_following_links(base: Path) -> None:
    victim = base.parent / "victim"
    victim.mkdir()
    (victim / "precious").write_text("x")
    folder = Path(run_folder.make_run_folder("mine"))
    (folder / "scratch" / "a" / "b").mkdir(parents=True)
    (folder / "scratch" / "a" / "link").symlink_to(victim)
    (folder / "link").symlink_to(victim)
    (folder / "scratch" / "a" / "closed").mkdir(mode=0)
    os.mkfifo(folder / "pipe")
    run_folder.let_go(str(folder))

    assert remove_dead_runs() == ["mine"]

    assert os.listdir(victim) == ["precious"]
    assert os.listdir(base) == []


def test_what_is_no_run_is_left_alone(base: Path) -> None:
    run_folder.make_run_folder("mine")
    (base / "file").write_text("")
    (base / "link").symlink_to("/etc")
    (base / ".hidden").mkdir()

    assert remove_dead_runs() == []
    assert sorted(os.listdir(base)) == [".hidden", "file", "link", "mine"]
