"""Errors are two lines and an exit code, and nothing heavy is imported before it is needed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., subprocess.CompletedProcess[str]]


def test_the_version_is_printed(lxsandbox_command: Command) -> None:
    done = lxsandbox_command("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("lxsandbox ")


def test_help_lists_every_command(lxsandbox_command: Command) -> None:
    done = lxsandbox_command("--help")
    assert done.returncode == 0
    assert all(f"\n  {name} " in done.stdout for name in ("doctor", "run", "shell", "image", "ps", "logs", "gc"))


@pytest.mark.parametrize("command", ["doctor", "run", "shell", "image", "ps", "logs", "gc"])
def test_every_command_explains_itself(lxsandbox_command: Command, command: str) -> None:
    done = lxsandbox_command(command, "-h")
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: lxsandbox {command}")


IMAGE_COMMANDS = ("ls", "inspect", "history", "pull", "push", "import", "export", "tag", "rm", "prune")


def test_help_of_image_lists_every_command(lxsandbox_command: Command) -> None:
    done = lxsandbox_command("image", "--help")
    assert done.returncode == 0
    assert all(f"\n  {name} " in done.stdout for name in IMAGE_COMMANDS)


@pytest.mark.parametrize("command", IMAGE_COMMANDS)
def test_every_command_of_image_explains_itself(lxsandbox_command: Command, command: str) -> None:
    done = lxsandbox_command("image", command, "-h")
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: lxsandbox image {command}")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("fly",), "No such command 'fly'"),
        (("run",), "Missing argument 'IMAGE'"),
        (("run", "host"), "Missing argument"),
        (("run", "--warp", "9", "host", "--", "true"), "--warp"),
        (("run", "--memory", "lots", "host", "--", "true"), "memory='lots' is not a size"),
        (("run", "--pids", "few", "host", "--", "true"), "neither a whole number nor 'max'"),
        (("run", "-v", "/etc", "host", "--", "true"), "is not SRC:DST[:ro|rw|copy]"),
        (("run", "-v", "/etc:/etc:wo", "host", "--", "true"), "is not SRC:DST[:ro|rw|copy]"),
        (("run", "--cpus", "0", "host", "--", "true"), "cpus=0.0"),
        (("run", "--network", "none", "host", "--", "true"), "isolated"),
        (("run", "--hostname", "a b", "host", "--", "true"), "is not a host name"),
        (("run", "--pull", "often", "host", "--", "true"), "'missing', 'always', 'never'"),
        (("image", "fly"), "No such command 'fly'"),
        (("logs", "nowhere"), "no sandbox 'nowhere' runs"),
    ],
)
def test_a_mistake_is_named_with_a_hint_and_exits_with_125(
    lxsandbox_command: Command, arguments: tuple[str, ...], said: str
) -> None:
    done = lxsandbox_command(*arguments)
    assert done.returncode == 125
    first, *others = done.stderr.splitlines()
    assert first.startswith("lxsandbox: error: ")
    assert said in first
    assert all(line.startswith("hint: ") for line in others)
    assert done.stdout == ""


def test_no_arguments_show_the_help_as_a_mistake(lxsandbox_command: Command) -> None:
    done = lxsandbox_command()
    assert done.returncode == 125
    assert "Usage: lxsandbox" in done.stderr


def test_an_unsafe_folder_for_runs_is_refused(lxsandbox_command: Command, run_folders: Path) -> None:
    run_folders.chmod(0o777)
    done = lxsandbox_command("ps")
    assert done.returncode == 125
    assert f"{run_folders} is not safe" in done.stderr
    assert "hint: " in done.stderr


def test_the_command_line_starts_light(run_folders: Path) -> None:
    heavy = {
        "rich",
        "asyncio",
        "pyroute2",
        *(f"lxsandbox.{name}" for name in ("cgroups", "host", "images", "sandbox", "service")),
    }
    light = "lxsandbox.cli, lxsandbox.cli.run, lxsandbox.cli.image.group"
    program = f"import sys, {light}; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
