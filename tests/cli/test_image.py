"""`lxsandbox image`: from a small tree to an image, through files and back, and out of the store again."""

from __future__ import annotations

import json
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from needs import needs
from rootfs_real.busybox import make_root

from lxsandbox.images.config import HistoryEntry, ImageConfig
from lxsandbox.images.documents import CONFIG_TYPE, Descriptor, Manifest, Platform
from lxsandbox.images.library import store_name
from lxsandbox.images.references import parse_reference
from lxsandbox.images.store import Store
from lxsandbox.sandbox.connection import ServiceConnection
from lxsandbox.sandbox.sandbox import Sandbox
from lxsandbox.units import format_size

Completed = subprocess.CompletedProcess[str]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The store that the commands use, which is the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Store()


@pytest.fixture
def image(lxsandbox_command: Callable[..., Completed], store: Store) -> Callable[..., str]:
    """Run `lxsandbox image` with these arguments, which must succeed; what it printed."""

    def image(*arguments: str, **options: Any) -> str:
        done = lxsandbox_command("image", *arguments, **options)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return image


@pytest.fixture
def refused(lxsandbox_command: Callable[..., Completed], store: Store) -> Callable[..., str]:
    """Run `lxsandbox image` with these arguments, which must fail with two lines; what it said."""

    def refused(*arguments: str, **options: Any) -> str:
        done = lxsandbox_command("image", *arguments, **options)
        assert (done.returncode, done.stdout) == (125, "")
        error, hint = done.stderr.splitlines()
        assert error.startswith("lxsandbox: error: ")
        assert hint.startswith("hint: ")
        return done.stderr

    return refused


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "tree" / "etc").mkdir(parents=True)
    (tmp_path / "tree" / "etc" / "motd").write_text("hello\n")
    return tmp_path / "tree"


@pytest.fixture
def mine(image: Callable[..., str], tree: Path) -> str:
    """The digest of an image that was imported as `mine`."""
    return image("import", str(tree), "mine").strip()


# Names


def test_an_imported_image_is_listed_by_its_familiar_name(image: Callable[..., str], mine: str, store: Store) -> None:
    columns, row = (line.split() for line in image("ls").splitlines())
    assert columns == ["NAME", "DIGEST", "CREATED", "SIZE", "SHARED"]
    assert row[:3] == ["mine:latest", mine.removeprefix("sha256:")[:12], "-"]

    (listed,) = json.loads(image("ls", "--json"))
    size = listed.pop("size_bytes")
    assert listed == {
        "name": "mine:latest",
        "reference": "docker.io/library/mine:latest",
        "digest": mine,
        "created": None,
        "shared_bytes": 0,
    }
    assert size == store.usage().bytes


def test_images_that_share_blobs_say_so(image: Callable[..., str], mine: str, store: Store) -> None:
    other = describe(store, *layers_of(store, mine), history=[])
    store.tag("docker.io/team/other:1", other)

    by_name = {each["name"]: each for each in json.loads(image("ls", "--json"))}

    shared = sum(layer.size for layer in layers_of(store, mine))
    assert {name: each["shared_bytes"] for name, each in by_name.items()} == {"mine:latest": shared, "team/other:1": shared}


def test_a_tag_is_one_more_name_for_the_same_image(image: Callable[..., str], mine: str) -> None:
    assert image("tag", "mine", "registry.example:5000/team/app:1") == ""

    listed = json.loads(image("ls", "--json"))

    assert [(each["name"], each["digest"]) for each in listed] == [
        ("mine:latest", mine),
        ("registry.example:5000/team/app:1", mine),
    ]


def test_a_name_that_another_tool_gave_is_listed_and_understood(image: Callable[..., str], mine: str, store: Store) -> None:
    store.tag("stable", store.names()["docker.io/library/mine:latest"])

    assert [each["name"] for each in json.loads(image("ls", "--json"))] == ["mine:latest", "stable"]
    assert json.loads(image("inspect", "stable"))["reference"] == "stable"
    assert image("rm", "stable") == "stable\n"


def test_a_debian_system_is_found_as_it_was_asked_for_and_as_it_is_listed(
    image: Callable[..., str], mine: str, store: Store
) -> None:
    asked = "mmdebstrap:bookworm?include=redis-server"
    name = store_name(parse_reference(asked))
    assert name is not None
    store.tag(name, store.names()["docker.io/library/mine:latest"])

    assert [each["name"] for each in json.loads(image("ls", "--json"))] == ["mine:latest", name]
    assert json.loads(image("inspect", asked))["digest"] == json.loads(image("inspect", name))["digest"] == mine


def test_an_image_that_is_incomplete_is_listed_and_not_used(
    image: Callable[..., str], refused: Callable[..., str], mine: str, store: Store
) -> None:
    store.blobs.discard(layers_of(store, mine)[0].digest)

    assert "mine:latest" in image("ls")
    assert "a part of image mine:latest is missing\nhint: fetch it: `lxsandbox image pull 'mine:latest'`" in refused(
        "tag", "mine", "other"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("inspect", "nowhere"), "image nowhere:latest is not in the store\nhint: `lxsandbox image ls` lists"),
        (("inspect", "host"), "`host` is this machine itself, and no image"),
        (("history", "nowhere"), "image nowhere:latest is not in the store"),
        (("tag", "nowhere", "other"), "image nowhere:latest is not in the store"),
        (("tag", "mine", "Other"), "'Other'"),
        (("tag", "mine", "host"), "`host` is this machine itself, and no image"),
        (("tag", "mine", f"other@sha256:{'0' * 64}"), "has a digest, which nobody can choose"),
        (("rm", "mine", "nowhere"), "image nowhere:latest is not in the store"),
        (("import", "nowhere", "mine"), "there is no file or folder 'nowhere' to import"),
        (("import", "oci:/nowhere", "mine"), "/nowhere is not a folder"),
        (("export", "mine", "archive.tar"), "nothing can be exported to archive.tar:latest\nhint: write oci:DIR[:TAG]"),
        (("export", "mine", "dir:/nowhere"), "nothing can be exported to dir:/nowhere"),
        (("pull", "dir:/"), "image dir:/ is here already, and not in a registry\nhint: `lxsandbox image import dir:/ NAME`"),
        (("pull", "host"), "`host` is this machine itself, and no image"),
        (("pull", "--platform", "arm64", "mine"), "'arm64' is not OS/ARCH[/VARIANT]"),
        (("push", "mine", "dir:/"), "'dir:/' is no name for an image"),
        (("prune", "--at-most", "lots"), "at-most='lots' is not a size"),
        (("prune", "--at-most", "1M", "--all"), "--all leaves nothing that --at-most could keep"),
    ],
)
def test_a_mistake_is_named_with_a_hint_and_changes_nothing(
    refused: Callable[..., str], mine: str, store: Store, arguments: tuple[str, ...], said: str
) -> None:
    assert said in refused(*arguments)
    assert list(store.names()) == ["docker.io/library/mine:latest"]


# What an image says of itself


def test_inspect_prints_the_documents_as_they_are(image: Callable[..., str], mine: str, store: Store) -> None:
    told = json.loads(image("inspect", "mine"))

    assert (told["reference"], told["digest"]) == ("docker.io/library/mine:latest", mine)
    assert told["manifest"] == json.loads(store.blobs.read(mine, at_most=1 << 20))
    assert told["config"] == json.loads(store.blobs.read(told["manifest"]["config"]["digest"], at_most=1 << 20))


def test_history_tells_the_last_step_first_and_which_layer_it_made(image: Callable[..., str], mine: str, store: Store) -> None:
    (layer,) = layers_of(store, mine)
    history = [
        HistoryEntry(created_by="ADD rootfs", created="2020-02-02T10:00:00.123456789Z"),
        HistoryEntry(created_by="ENV A=\x1b[31mred", empty_layer=True, comment="none"),
    ]
    store.tag("docker.io/library/told:latest", describe(store, layer, layer, history=history))

    untold, env, add = json.loads(image("history", "--json", "told"))
    rows = [line.split("  ")[0] for line in image("history", "told").splitlines()]

    assert env == {
        "created": None, "created_by": "ENV A=\x1b[31mred", "author": "", "comment": "none", "digest": None, "size_bytes": None,
    }  # fmt: skip
    assert (add["created"], add["created_by"]) == ("2020-02-02T10:00:00.123456789Z", "ADD rootfs")
    assert (add["digest"], add["size_bytes"]) == (untold["digest"], untold["size_bytes"]) == (layer.digest, layer.size)
    assert untold["created_by"] == ""
    assert rows[:3] == ["CREATED", "-", "-"]
    assert rows[3].endswith(" d")
    assert "\x1b" not in image("history", "told")


# Files


@pytest.mark.parametrize("target", ["oci:{}", "oci:{}:1.0", "oci-archive:{}", "oci-archive:{}:1.0"])
def test_an_exported_image_is_imported_as_the_same(image: Callable[..., str], mine: str, tmp_path: Path, target: str) -> None:
    place = target.format(tmp_path / "exported")
    image("export", "mine", place)
    image("rm", "mine")

    assert image("import", place, "again").strip() == mine


@needs("skopeo")
def test_another_tool_finds_the_name_in_a_docker_archive(image: Callable[..., str], mine: str, tmp_path: Path) -> None:
    file = tmp_path / "saved.tar"
    image("export", "mine", f"docker-archive:{file}:team/app:2")

    done = subprocess.run(["skopeo", "inspect", f"docker-archive:{file}:team/app:2"], capture_output=True, check=False)

    assert done.returncode == 0, done.stderr
    image("import", f"docker-archive:{file}:team/app:2", "again")
    assert diff_ids(image, "again") == diff_ids(image, "mine")


def test_a_bare_tar_is_imported_by_a_relative_path(image: Callable[..., str], tree: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "rootfs.tar", "w") as archive:
        archive.add(tree, ".")

    digest = image("import", "rootfs.tar", "team/app:1", cwd=tmp_path).strip()

    assert json.loads(image("inspect", "team/app:1"))["digest"] == digest


def test_a_layout_is_not_taken_for_a_root_file_system(
    image: Callable[..., str], refused: Callable[..., str], mine: str, tmp_path: Path
) -> None:
    image("export", "mine", f"oci:{tmp_path / 'layout'}")

    said = refused("import", "layout", "other", cwd=tmp_path)

    assert "layout is an image layout, and no root file system\nhint: write oci:layout for the image in it" in said


def test_an_image_in_a_file_is_inspected_where_it_is(image: Callable[..., str], mine: str, tmp_path: Path) -> None:
    image("export", "mine", f"oci-archive:{tmp_path / 'image.tar'}")
    image("rm", "mine")

    assert json.loads(image("inspect", "oci-archive:image.tar", cwd=tmp_path))["digest"] == mine
    assert image("ls").splitlines() == ["NAME  DIGEST  CREATED  SIZE  SHARED"]


# Room


def test_rm_removes_the_names_and_what_only_they_reach(image: Callable[..., str], mine: str, store: Store) -> None:
    image("tag", "mine", "other")

    assert image("rm", "mine") == "mine:latest\n"
    assert store.blobs.has(mine)

    assert image("rm", "other", "other:latest") == "other:latest\n"
    assert store.usage().bytes == 0


def test_rm_says_what_it_freed(lxsandbox_command: Callable[..., Completed], mine: str, store: Store) -> None:
    size = store.usage().bytes
    assert lxsandbox_command("image", "rm", "mine").stderr == f"freed: {format_size(size)}\n"


def test_prune_without_options_removes_no_image(image: Callable[..., str], mine: str, store: Store) -> None:
    orphan = store.blobs.add(b"of no image")

    told = json.loads(image("prune", "--json"))

    assert told == {"names": [], "blobs": [orphan], "layers": [], "bytes": len(b"of no image")}
    assert store.blobs.has(mine)


def test_prune_says_how_much_of_what_went(lxsandbox_command: Callable[..., Completed], mine: str) -> None:
    done = lxsandbox_command("image", "prune", "--all")

    assert done.stdout == "mine:latest\n"
    assert done.stderr.startswith("removed: 1 name, 3 blobs, 0 layers; freed: ")


def test_prune_to_a_size_removes_the_least_recently_used(image: Callable[..., str], mine: str, tree: Path, store: Store) -> None:
    (tree / "etc" / "motd").write_text("another\n")
    image("import", str(tree), "newer")

    told = json.loads(image("prune", "--at-most", str(store.usage().bytes - 1), "--json"))

    assert told["names"] == ["mine:latest"]
    assert list(store.names()) == ["docker.io/library/newer:latest"]


def test_what_is_held_survives_rm_and_prune(image: Callable[..., str], mine: str, store: Store) -> None:
    with store.lease(store.names()["docker.io/library/mine:latest"]):
        image("rm", "mine")
        image("prune", "--all")
        assert store.blobs.has(mine)
    image("prune")
    assert not store.blobs.has(mine)


# Sandboxes over them


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_root(tmp_path / "root")


@needs("user-namespaces", "overlayfs", "libseccomp", "busybox")
def test_a_sandbox_runs_over_an_imported_image_and_its_layers_go_with_it(
    image: Callable[..., str], lxsandbox_command: Callable[..., Completed], root: Path, store: Store
) -> None:
    image("import", str(root), "small")
    assert lxsandbox_command("run", "--pull", "never", "small", "--", "echo", "it runs").stdout == "it runs\n"
    assert store.usage().layers == 1

    assert image("rm", "small") == "small:latest\n"

    assert store.usage().bytes == 0


@needs("user-namespaces", "overlayfs", "libseccomp", "busybox")
def test_a_service_prunes_for_who_cannot_remove_what_it_unpacked(
    image: Callable[..., str], root: Path, store: Store, run_folders: Path
) -> None:
    image("import", str(root), "small")
    connection = ServiceConnection.open()
    try:
        with Sandbox("small", connection=connection):
            held = connection.request("image_prune", all=True)
        assert (held["names"], store.usage().layers) == ([], 1)
    finally:
        connection.leave()

    asking = ServiceConnection.open(observer=True)
    try:
        removed = asking.request("image_prune", all=True)
    finally:
        asking.leave()

    assert removed["names"] == ["docker.io/library/small:latest"]
    assert len(removed["layers"]) == 1
    assert removed["bytes"] > 0
    assert store.usage().bytes == 0


@pytest.mark.parametrize(("option", "why"), [(("--pull", "never"), 'pull="never"'), (("--offline",), "this run is offline")])
@pytest.mark.parametrize("command", ["run", "shell"])
@needs("user-namespaces", "overlayfs", "libseccomp")
def test_an_image_that_may_not_be_fetched_is_refused_with_what_to_do(
    lxsandbox_command: Callable[..., Completed], store: Store, command: str, option: tuple[str, ...], why: str
) -> None:
    rest = ("--", "true") if command == "run" else ()

    done = lxsandbox_command(command, *option, "127.0.0.1:9/nowhere", *rest)

    assert done.returncode == 125
    assert done.stderr.splitlines() == [
        f"lxsandbox: error: image 127.0.0.1:9/nowhere:latest is not in the store, and {why}",
        "hint: fetch it before, with the network there: `lxsandbox image pull '127.0.0.1:9/nowhere:latest'`",
    ]


def layers_of(store: Store, digest: str) -> tuple[Descriptor, ...]:
    descriptor = next(each for each in store.names().values() if each.digest == digest)
    return store.manifest(descriptor).layers


def diff_ids(image: Callable[..., str], name: str) -> list[str]:
    listed: list[str] = json.loads(image("inspect", name))["config"]["rootfs"]["diff_ids"]
    return listed


def describe(store: Store, *layers: Descriptor, history: list[HistoryEntry], **settings: Any) -> Descriptor:
    """An image of these layers, in the store, with these fields of its configuration."""
    diff_ids = tuple(layer.digest for layer in layers)
    platform = Platform(architecture="amd64")
    config = ImageConfig(platform=platform, diff_ids=diff_ids, history=tuple(history), **settings).as_bytes()
    described = Descriptor(media_type=CONFIG_TYPE, digest=store.blobs.add(config), size=len(config))
    manifest = Manifest(config=described, layers=layers)
    data = manifest.as_bytes()
    return Descriptor(media_type=manifest.media_type, digest=store.blobs.add(data), size=len(data))
