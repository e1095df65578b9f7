"""`lxsandbox image build`: a Containerfile becomes a named image, and whoever waits sees how it goes on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli.conftest import Completed, Terminal
from events import until
from needs import needs

from lxsandbox.images.building.fetching import STEPS
from lxsandbox.images.store import Store

pytestmark = needs("user-namespaces", "overlayfs", "busybox")

TEXT = """ARG greeting=hello
FROM scratch AS base
COPY busybox /bin/
RUN ["/bin/busybox", "--install", "-s", "/bin"]
FROM base AS app
ARG greeting
RUN echo $greeting | tee /greeting
CMD ["cat", "/greeting"]
FROM app
RUN echo tested
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to build from; images are kept beside it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "project").mkdir()
    shutil.copy(shutil.which("busybox", path=os.environ["PATH"] + ":/usr/bin:/bin") or "", tmp_path / "project" / "busybox")
    (tmp_path / "project" / "Containerfile").write_text(TEXT)
    return tmp_path / "project"


@pytest.fixture
def build(lxsandbox_command: Callable[..., Completed], project: Path) -> Callable[..., Completed]:
    """Run `lxsandbox image build` with these arguments in the folder above the project."""

    def build(*arguments: str, **options: Any) -> Completed:
        return lxsandbox_command("image", "build", *arguments, cwd=project.parent, **options)

    return build


def test_what_is_built_has_a_name_and_runs(build: Callable[..., Completed], lxsandbox_command: Callable[..., Completed]) -> None:
    done = build("-t", "team/app:1", "project")

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("sha256:")
    assert lxsandbox_command("run", "team/app:1", "--", "cat", "/greeting").stdout == "hello\n"
    (listed,) = json.loads(lxsandbox_command("image", "ls", "--json").stdout)
    assert (listed["name"], listed["digest"]) == ("team/app:1", done.stdout.strip())


def test_a_step_is_one_line_and_says_whether_it_was_carried_out(build: Callable[..., Completed]) -> None:
    first, second, third = (build("-t", "app", *options, "project").stderr for options in ((), (), ("--no-cache",)))

    steps = [
        "app: RUN echo $greeting | tee /greeting",
        "RUN echo tested",
    ]
    assert [line for line in first.splitlines() if line in steps] == steps
    assert [line for line in second.splitlines() if line.endswith(" (stored)")] == second.splitlines()
    assert third == first


def test_arguments_stages_and_files_are_chosen(
    build: Callable[..., Completed], lxsandbox_command: Callable[..., Completed], project: Path
) -> None:
    (project / "Containerfile").rename(project.parent / "Other")
    environment = {**os.environ, "greeting": "from the environment"}
    for given, said in (("greeting=given", "given\n"), ("greeting", "from the environment\n")):
        done = build("-t", "app", "-f", "Other", "--target", "app", "--build-arg", given, "--json", "project", env=environment)
        assert json.loads(done.stdout).keys() == {"name", "digest"}
        assert lxsandbox_command("run", "app", "--", "cat", "/greeting").stdout == said


def test_a_failure_says_where_and_with_what_words(build: Callable[..., Completed], project: Path) -> None:
    (project / "Containerfile").write_text(TEXT + "RUN echo last words; exit 5\n")

    done = build("-t", "app", "project")
    assert done.returncode == 125
    end = done.stderr.partition("lxsandbox: error: ")[2].splitlines()
    assert end[0].startswith(f"{project}/Containerfile:11: RUN echo last words; exit 5: it exited with code 5")
    assert end[1] == "last words"
    assert end[2].startswith("hint: ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-t", "app", "none"), "none is not a file or folder"),
        (("-t", "app", "."), "has no Containerfile or Dockerfile"),
        (("-t", f"app@sha256:{0:064}", "project"), "has a digest, which nobody can choose"),
        (("-t", "app", "--target", "none", "project"), "has no stage 'none'"),
        (("-t", "app", "-f", "none", "project"), "none cannot be read"),
    ],
)
def test_mistakes_are_said_in_two_lines(build: Callable[..., Completed], arguments: tuple[str, ...], said: str) -> None:
    done = build(*arguments)

    assert done.returncode == 125
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_on_a_terminal_what_steps_print_is_shown(project: Path, terminal: Callable[..., Terminal]) -> None:
    shown = terminal("image", "build", "-t", "app", str(project))

    shown.wait_for("RUN echo $greeting")
    shown.wait_for("hello")
    shown.wait_for("tested")
    assert shown.wait() == 0


def test_one_that_is_interrupted_ends_its_step_and_names_nothing(
    project: Path, lxsandbox_process: Callable[..., subprocess.Popen[str]]
) -> None:
    (project / "Containerfile").write_text(TEXT + "RUN echo > /started; sleep 4713.5\n")
    building = lxsandbox_process("image", "build", "-t", "app", str(project))
    until(lambda: _runs("4713.5"), "the step runs")
    building.terminate()

    assert building.wait(30) == 143
    until(lambda: not _runs("4713.5"), "the step has ended")
    assert [name for name in Store().names() if not name.startswith(f"{STEPS}/")] == []


def _runs(word: str) -> bool:
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and f"sleep\0{word}\0".encode() in (entry / "cmdline").read_bytes():
                return True
        except OSError:
            continue
    return False


def test_results_of_steps_go_when_room_is_made(
    build: Callable[..., Completed], lxsandbox_command: Callable[..., Completed]
) -> None:
    build("-t", "app", "project")
    assert any(name.startswith(f"{STEPS}/") for name in Store().names())

    lxsandbox_command("image", "prune", "--all")
    assert not Store().names()
    assert build("-t", "app", "project").returncode == 0
