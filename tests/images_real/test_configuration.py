"""A sandbox is run as its image's configuration says, where the test says nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from events import until
from images_real.conftest import Shelf
from needs import needs
from rootfs_real.busybox import entry

from lxsandbox import ImageError, Sandbox, SandboxDied
from lxsandbox.errors import CommandNotFound

pytestmark = needs("user-namespaces", "overlayfs", "busybox")

Start = Callable[..., Sandbox]


def test_commands_have_the_images_environment_and_folder(start: Start, shelf: Shelf) -> None:
    image = shelf.layout(env={"FLAVOUR": "sweet", "PATH": "/bin"}, working_dir="/srv/deep")

    box = start(image)
    assert box.check_output(["sh", "-c", "echo $FLAVOUR $PATH $PWD"]) == "sweet /bin /srv/deep\n"


def test_what_the_spec_says_goes_before_what_the_image_says(start: Start, shelf: Shelf) -> None:
    image = shelf.layout(env={"A": "image", "B": "image"}, working_dir="/srv")

    box = start(image, env={"A": "spec"}, cwd="/bin")
    assert box.check_output(["sh", "-c", "echo $A $B $PWD"]) == "spec image /bin\n"


@needs("id-range")
def test_commands_run_as_the_images_user(start: Start, shelf: Shelf) -> None:
    image = shelf.layout(user="1234:99")

    assert start(image).check_output(["sh", "-c", "id -u; id -g"]).split() == ["1234", "99"]
    assert start(image, user=0).check_output(["id", "-u"]) == "0\n"


def test_a_user_that_the_image_lacks_is_refused_by_name(start: Start, shelf: Shelf) -> None:
    box = start(shelf.layout(user="nobody-here"))

    with pytest.raises(ValueError, match="nobody-here"):
        box.run(["true"])


def test_volumes_are_there_and_empty(start: Start, shelf: Shelf) -> None:
    box = start(shelf.layout(volumes=("/data", "/var/lib/deep")))

    assert box.run(["sh", "-c", "ls /data /var/lib/deep && echo x > /data/x"], check=True).stderr == ""


def test_the_images_command_is_the_main_one(start: Start, shelf: Shelf) -> None:
    box = start(shelf.layout(entrypoint=("sh", "-c", 'echo "$0 $1"; sleep 100'), command=("from", "cmd"), env={"PATH": "/bin"}))

    assert box.main is not None
    until(lambda: box.logs() == "from cmd\n", "the image's command says something")


def test_an_entrypoint_of_the_specs_own_drops_the_images_command(start: Start, shelf: Shelf) -> None:
    image = shelf.layout(entrypoint=("sh", "-c"), command=("exit 3",), env={"PATH": "/bin"})

    box = start(image, entrypoint=["sh", "-c", "echo mine; sleep 100"])
    until(lambda: box.logs() == "mine\n", "the spec's command says something")


def test_a_command_of_the_specs_own_is_an_argument_of_the_images_entrypoint(start: Start, shelf: Shelf) -> None:
    image = shelf.layout(entrypoint=("sh", "-c"), command=("exit 3",), env={"PATH": "/bin"})

    box = start(image, command=["echo given; sleep 100"])
    until(lambda: box.logs() == "given\n", "the spec's command says something")


def test_an_image_whose_shell_is_done_at_once_is_a_sandbox_all_the_same(start: Start, shelf: Shelf) -> None:
    box = start(shelf.layout(command=("sh",), env={"PATH": "/bin"}))

    assert box.main is not None
    assert box.main.wait(timeout=10) == 0
    assert box.check_output(["echo", "alive"]) == "alive\n"


def test_an_image_whose_command_fails_ends_with_it(start: Start, shelf: Shelf) -> None:
    box = start(shelf.layout(command=("sh", "-c", "echo no database; exit 7"), env={"PATH": "/bin"}))

    until(lambda: box.state == "exited", "it ends")
    with pytest.raises(SandboxDied, match="code 7"):
        box.run(["true"])
    assert box.death is not None
    assert "no database" in box.death.log_tail


def test_a_command_that_the_image_lacks_is_refused_at_the_start(start: Start, shelf: Shelf) -> None:
    with pytest.raises(CommandNotFound, match="no-such-server"):
        start(shelf.layout(command=("no-such-server",)))


def test_upper_layers_hide_what_is_below(start: Start, shelf: Shelf) -> None:
    assert start(shelf.layout("lower", "middle", "upper")).path("/text").read_text() == "upper"


@pytest.mark.parametrize("hides", [False, True])
def test_a_layer_may_hide_all_that_is_below_it(start: Start, shelf: Shelf, hides: bool) -> None:
    mark = ".wh..wh..opq" if hides else "nothing-special"
    image = shelf.layout("low", "high", more={"low": entry("only-below"), "high": entry(mark)})

    box = start(image)
    assert box.path("/text").read_text() == "high"
    assert box.path("/only-below").exists() is not hides


def test_a_layer_that_is_not_what_the_configuration_says_is_refused(start: Start, shelf: Shelf) -> None:
    wrong = shelf.layout(diff_ids=("sha256:" + "0" * 64,))

    with pytest.raises(ImageError, match="is not what its configuration says"):
        start(wrong)
