"""`lxsandbox image lock`, and what goes by the lock it writes: `image pull --locked`, `run --locked`."""

from __future__ import annotations

import json
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli.test_image_transfer import made_for
from images.registry.conftest import open_registry
from images.registry.servers import index_of, publish
from images_real.conftest import Shelf
from needs import needs

from lxsandbox.images.platforms import host_platform
from lxsandbox.images.store import Store

pytestmark = needs("docker-registry")

__all__ = ["open_registry"]

Completed = subprocess.CompletedProcess[str]
HERE = str(host_platform())


@pytest.fixture
def image(
    lxsandbox_command: Callable[..., Completed], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Completed]:
    """Run `lxsandbox image` with these arguments, in a folder and with a store of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "no-logins"))
    monkeypatch.chdir(tmp_path)

    def image(*arguments: str, status: int = 0) -> Completed:
        done = lxsandbox_command("image", *arguments)
        assert done.returncode == status, done.stderr
        return done

    return image


@pytest.fixture
def many(open_registry: str) -> tuple[str, dict[str, str]]:
    """An image for two platforms: its name, and the digest for each."""
    children = {name: made_for(name) for name in (HERE, "linux/s390x")}
    publish(open_registry, "team/many", "1", index_of(*children.values()))
    return f"{open_registry}/team/many:1", {name: child.digest for name, child in children.items()}


def test_lock_writes_the_digest_for_each_platform_and_fetches_nothing(
    image: Callable[..., Completed], many: tuple[str, dict[str, str]], tmp_path: Path
) -> None:
    name, digests = many

    done = image("lock", name)

    assert done.stdout == f"added: {name} ({', '.join(sorted(digests))})\n"
    assert tomllib.loads((tmp_path / "lxsandbox.lock").read_text()) == {"version": 1, "image": {name: digests}}
    assert not (tmp_path / "cache").exists()


def test_lock_adds_to_what_is_there_and_says_what_changed(
    image: Callable[..., Completed], many: tuple[str, dict[str, str]], open_registry: str, tmp_path: Path
) -> None:
    name, digests = many
    other = f"{open_registry}/team/other:1"
    publish(open_registry, "team/other", "1", made_for(HERE))
    image("lock", "--file", "mine.lock", name)
    image("lock", "--file", "mine.lock", other)
    publish(open_registry, "team/other", "1", made_for("linux/s390x"))

    told = json.loads(image("lock", "--file", "mine.lock", "--json").stdout)

    assert {each["name"]: each["state"] for each in told} == {name: "unchanged", other: "changed"}
    assert told[0] == {"name": name, "reference": name, "state": "unchanged", "digests": digests}
    written = tomllib.loads((tmp_path / "mine.lock").read_text())["image"]
    assert written == {each["name"]: each["digests"] for each in told}
    assert not (tmp_path / "lxsandbox.lock").exists()


def test_check_writes_nothing_and_fails_where_the_lock_is_out_of_date(
    image: Callable[..., Completed], open_registry: str, tmp_path: Path
) -> None:
    name = f"{open_registry}/team/checked:1"
    publish(open_registry, "team/checked", "1", made_for(HERE))
    assert image("lock", "--check", name, status=1).stdout == f"added: {name} ({HERE})\n"
    image("lock", name)
    before = (tmp_path / "lxsandbox.lock").read_text()

    assert image("lock", "--check").stdout == f"unchanged: {name} ({HERE})\n"
    publish(open_registry, "team/checked", "1", made_for("linux/s390x"))
    assert image("lock", "--check", status=1).stdout == f"changed: {name} (linux/s390x)\n"

    assert (tmp_path / "lxsandbox.lock").read_text() == before


def test_an_image_that_cannot_be_asked_for_leaves_the_lock_as_it_was(
    image: Callable[..., Completed], many: tuple[str, dict[str, str]], open_registry: str, tmp_path: Path
) -> None:
    done = image("lock", many[0], f"{open_registry}/team/nowhere:1", status=125)

    assert "team/nowhere" in done.stderr
    assert not (tmp_path / "lxsandbox.lock").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("lock",), "there are no images in {}/lxsandbox.lock yet\nhint: name them"),
        (("lock", "host"), "image host cannot be locked: it is this machine itself\nhint: it needs none"),
        (("lock", "dir:."), "cannot be locked: it is in a file or folder"),
        (("lock", "mmdebstrap:bookworm"), "it is made of the packages of the day\nhint: choose the day"),
        (("pull",), "Missing argument 'NAME'.\nhint: "),
        (("pull", "--file", "x", "alpine"), "--file goes with --locked\nhint: "),
        (("pull", "--locked"), "there are no images in {}/lxsandbox.lock\nhint: pin some"),
        (("pull", "--locked", "alpine"), "image alpine:latest is not pinned in {}/lxsandbox.lock\nhint: add it: `"),
    ],
)
def test_a_mistake_is_named_with_a_hint(
    image: Callable[..., Completed], tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    assert said.format(tmp_path) in image(*arguments, status=125).stderr


def test_a_locked_pull_stores_all_that_is_pinned_for_this_platform_by_tag_and_digest(
    image: Callable[..., Completed], many: tuple[str, dict[str, str]], open_registry: str, tmp_path: Path
) -> None:
    name, digests = many
    other = f"{open_registry}/team/elsewhere:1"
    publish(open_registry, "team/elsewhere", "1", made_for("linux/s390x"))
    image("lock", name, other)

    done = image("pull", "--locked", "--quiet")

    assert done.stdout == f"{name} {digests[HERE]}\n"
    assert done.stderr == f"left out: {other} is not pinned for {HERE}\n"
    names = Store(str(tmp_path / "cache" / "lxsandbox")).names()
    assert {each: descriptor.digest for each, descriptor in names.items()} == {
        name: digests[HERE],
        f"{name}@{digests[HERE]}": digests[HERE],
    }
    assert image("pull", "--locked", "--platform", "linux/s390x", name).stdout == f"{name} {digests['linux/s390x']}\n"


def test_a_locked_pull_shows_a_bar_for_each_blob_on_a_terminal(
    image: Callable[..., Completed], many: tuple[str, dict[str, str]], terminal: Callable[..., Any]
) -> None:
    name, digests = many
    image("lock", name)

    shown = terminal("image", "pull", "--locked")

    shown.wait_for("━━━━")
    shown.wait_for(digests[HERE])
    assert shown.wait() == 0


@needs("user-namespaces", "overlayfs", "libseccomp", "busybox")
def test_run_takes_what_the_lock_says_or_nothing(
    image: Callable[..., Completed], lxsandbox_command: Callable[..., Completed], open_registry: str, tmp_path: Path
) -> None:
    shelf = Shelf(tmp_path)
    name = shelf.push(open_registry, "team/run", "then")
    command = ("run", "--locked", name, "--", "cat", "/text")
    refused = lxsandbox_command(*command)
    image("lock", name)
    shelf.push(open_registry, "team/run", "now")

    assert lxsandbox_command(*command).stdout == "then"
    assert refused.returncode == 125
    assert f"image {name} is not pinned in {tmp_path}/lxsandbox.lock" in refused.stderr
