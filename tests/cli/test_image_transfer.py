"""`lxsandbox image pull` and `push` with a real registry: what one pushed another pulls, and what is shown of it meanwhile."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli.conftest import SECONDS
from images.registry.conftest import open_registry
from images.registry.servers import Image, index_of, publish
from needs import needs

from lxsandbox.images.digests import digest_of
from lxsandbox.images.documents import CONFIG_TYPE, Descriptor, Manifest, Platform
from lxsandbox.images.store import Store
from lxsandbox.units import format_size

pytestmark = needs("docker-registry")

__all__ = ["open_registry"]

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def image(lxsandbox_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run `lxsandbox image` with these arguments and a store of the test's own; it must succeed."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "no-logins"))

    def image(*arguments: str) -> subprocess.CompletedProcess[str]:
        done = lxsandbox_command("image", *arguments)
        assert done.returncode == 0, done.stderr
        return done

    return image


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree that is like no other: what a registry has is not sent."""
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "random").write_bytes(os.urandom(100_000))
    return tmp_path / "tree"


def test_what_was_pushed_is_pulled_with_a_line_for_each_blob(image: Command, open_registry: str, tree: Path) -> None:
    digest = image("import", str(tree), "mine").stdout
    manifest = json.loads(image("inspect", "mine").stdout)["manifest"]
    lines = [f"{blob['digest'][:19]}… {format_size(blob['size'])} done" for blob in (manifest["config"], *manifest["layers"])]

    pushed = image("push", "mine", f"{open_registry}/team/app:1")
    image("rm", "mine")
    pulled = image("pull", f"{open_registry}/team/app:1")

    for done in (pushed, pulled):
        assert (done.stdout, sorted(done.stderr.splitlines())) == (digest, sorted(lines))
    assert json.loads(image("ls", "--json").stdout)[0]["name"] == f"{open_registry}/team/app:1"


def test_push_with_one_name_sends_it_to_where_the_name_says(image: Command, open_registry: str, tree: Path) -> None:
    name = f"{open_registry}/team/named"
    digest = image("import", str(tree), name).stdout

    assert image("push", "--quiet", name).stderr == ""

    image("rm", name)
    assert image("pull", "--quiet", name).stdout == digest


def test_push_and_pull_print_the_image_as_json(image: Command, open_registry: str, tree: Path) -> None:
    name = f"{open_registry}/team/told:1"
    digest = image("import", str(tree), "mine").stdout.strip()

    for done in (image("push", "--json", "mine", name), image("pull", "--json", name)):
        assert json.loads(done.stdout) == {"name": name, "reference": name, "digest": digest}


def test_pull_is_quiet_when_asked_and_fetches_nothing_twice(image: Command, open_registry: str, tree: Path) -> None:
    name = f"{open_registry}/team/twice"
    image("import", str(tree), name)
    image("push", name)
    image("prune", "--all")

    assert image("pull", "--quiet", name).stderr == ""
    assert image("pull", name).stderr == ""


def test_pull_asks_again_what_the_name_stands_for(image: Command, open_registry: str, tmp_path: Path) -> None:
    name = f"{open_registry}/team/moving"
    for content in ("first", "second"):
        (tmp_path / content).mkdir()
        (tmp_path / content / "file").write_text(content)
    first = image("import", str(tmp_path / "first"), name).stdout
    second = image("import", str(tmp_path / "second"), "other").stdout
    image("push", "other", name)

    assert image("pull", name).stdout == second != first


def test_pull_takes_the_image_for_the_platform_that_is_named(image: Command, open_registry: str) -> None:
    children = {name: made_for(name) for name in ("linux/amd64", "linux/arm64/v8", "linux/s390x")}
    publish(open_registry, "team/many", "latest", index_of(*children.values()))
    command = ("pull", "--platform", "linux/s390x", f"{open_registry}/team/many")

    assert image(*command).stdout.strip() == children["linux/s390x"].digest


def test_a_platform_that_is_not_there_is_refused_with_those_that_are(
    image: Command, lxsandbox_command: Command, open_registry: str
) -> None:
    publish(open_registry, "team/few", "latest", index_of(made_for("linux/s390x")))

    done = lxsandbox_command("image", "pull", "--platform", "linux/arm/v7", f"{open_registry}/team/few")

    assert (done.returncode, done.stdout) == (125, "")
    assert "no image for linux/arm/v7, but for: linux/s390x" in done.stderr


def test_a_name_that_the_registry_lacks_is_an_error_without_a_line_for_it(
    image: Command, lxsandbox_command: Command, open_registry: str
) -> None:
    done = lxsandbox_command("image", "pull", f"{open_registry}/team/nowhere")

    assert (done.returncode, done.stdout) == (125, "")
    assert f"{open_registry}" in done.stderr
    assert " done" not in done.stderr


def test_an_interrupted_pull_ends_with_the_signals_exit_code_and_no_traceback(
    image: Command, lxsandbox_process: Callable[..., subprocess.Popen[str]]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        process = lxsandbox_process("image", "pull", f"127.0.0.1:{silent.getsockname()[1]}/team/app")
        connection, _ = silent.accept()
        with connection:
            connection.recv(1)  # it asks, and will get no answer
            process.send_signal(signal.SIGINT)
            said = process.communicate(timeout=SECONDS)

    assert process.returncode == 128 + signal.SIGINT
    assert "Traceback" not in "".join(said)


def test_a_terminal_shows_a_bar_for_each_blob(
    image: Command, terminal: Callable[..., Any], open_registry: str, tree: Path
) -> None:
    digest = image("import", str(tree), "mine").stdout.strip()
    layer = json.loads(image("inspect", "mine").stdout)["manifest"]["layers"][0]["digest"]
    image("push", "mine", f"{open_registry}/team/shown")
    image("prune", "--all")

    shown = terminal("image", "pull", f"{open_registry}/team/shown")

    shown.wait_for(layer[:19])
    shown.wait_for("━━━━")
    shown.wait_for(digest)
    assert shown.wait() == 0


@needs("user-namespaces", "overlayfs", "libseccomp")
def test_run_fetches_the_image_when_it_is_told_to(
    image: Command, lxsandbox_command: Command, open_registry: str, tmp_path: Path
) -> None:
    name = f"{open_registry}/team/run"
    for content in ("first", "second"):
        (tmp_path / content).mkdir()
        (tmp_path / content / content).write_text("")
    first = image("import", str(tmp_path / "first"), name).stdout.strip()
    second = image("import", str(tmp_path / "second"), "other").stdout.strip()
    image("push", "other", name)
    stored = Store(str(tmp_path / "cache" / "lxsandbox"))

    lxsandbox_command("run", name, "--", "true")
    assert stored.names()[f"{name}:latest"].digest == first

    lxsandbox_command("run", "--pull", "always", name, "--", "true")
    assert stored.names()[f"{name}:latest"].digest == second


def made_for(platform: str) -> Image:
    """An image with no layers, whose configuration alone tells it from others."""
    system, architecture, *variant = platform.split("/")
    described = Platform(os=system, architecture=architecture, variant="".join(variant))
    config = json.dumps({**described.as_json(), "rootfs": {"type": "layers", "diff_ids": []}}).encode()
    manifest = Manifest(config=Descriptor(media_type=CONFIG_TYPE, digest=digest_of(config), size=len(config)), layers=())
    data = manifest.as_bytes()
    descriptor = Descriptor(media_type=manifest.media_type, digest=digest_of(data), size=len(data), platform=described)
    return Image(descriptor=descriptor, data=data, blobs={digest_of(config): config})
