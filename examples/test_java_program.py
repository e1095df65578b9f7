"""A Java program, compiled and run in containers of its own Containerfile, and tested there.

The first time, Debian's packages are fetched and installed, which takes a minute or two; from then on all of it is stored.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lxsandbox import Sandbox

IMAGE = f"build:{Path(__file__).parent / 'java'}"

pytestmark = [
    pytest.mark.skipif(shutil.which("mmdebstrap") is None, reason="the Containerfile's base is made by mmdebstrap"),
    pytest.mark.timeout(900),
]


@pytest.fixture
def container(make_sandbox: Callable[..., Sandbox]) -> Sandbox:
    """A container of its own for each test; the image is built for the first that asks."""
    return make_sandbox(image=IMAGE, memory="512M")


def test_the_program_greets(container: Sandbox) -> None:
    assert container.check_output(["java", "Greeter", "world"]) == "hello world\n"


def test_without_a_name_it_says_how_it_is_used(container: Sandbox) -> None:
    done = container.run(["java", "Greeter"])
    assert (done.returncode, done.stderr) == (2, "usage: Greeter NAME\n")


def test_it_runs_as_the_user_of_the_image_and_without_a_compiler(container: Sandbox) -> None:
    assert container.check_output(["id", "-un"]) == "nobody\n"
    assert container.run(["sh", "-c", "command -v javac"]).returncode != 0
