"""`lxsandbox image diff`: of imported trees, of images in files, and of a snapshot and what it is of."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
from cli.test_image import image, mine, refused, root, store, tree
from needs import needs

from lxsandbox.images.store import Store
from lxsandbox.sandbox.connection import ServiceConnection
from lxsandbox.sandbox.sandbox import Sandbox

__all__ = ["image", "mine", "refused", "root", "store", "tree"]


@pytest.fixture
def other(image: Callable[..., str], mine: str, tree: Path) -> None:
    """An image that was imported as `other`, of the tree that `mine` is of with changes in it."""
    (tree / "etc" / "motd").write_text("howdy\n")
    (tree / "etc" / "new\nline").touch()
    image("import", str(tree), "other")


@pytest.mark.usefixtures("other")
def test_a_line_says_a_letter_and_a_path(image: Callable[..., str]) -> None:
    assert image("diff", "mine", "other") == "C /etc/motd\nA /etc/new?line\n"
    assert image("diff", "other", "mine") == "C /etc/motd\nD /etc/new?line\n"
    assert image("diff", "mine", "mine") == ""


@pytest.mark.usefixtures("other")
def test_as_json_paths_are_what_they_are(image: Callable[..., str]) -> None:
    assert json.loads(image("diff", "--json", "mine", "other")) == [
        {"kind": "changed", "path": "/etc/motd"},
        {"kind": "added", "path": "/etc/new\nline"},
    ]


@pytest.mark.usefixtures("other")
def test_images_in_files_are_compared_and_not_kept(image: Callable[..., str], tmp_path: Path, store: Store) -> None:
    image("export", "other", f"oci-archive:{tmp_path}/other.tar")
    image("rm", "other")
    image("prune")
    before = set(store.names())

    assert image("diff", "mine", f"oci-archive:{tmp_path}/other.tar") == "C /etc/motd\nA /etc/new?line\n"

    assert set(store.names()) == before


def test_an_image_that_is_not_there_is_an_error(refused: Callable[..., str], mine: str) -> None:
    assert "image nowhere:latest is not in the store" in refused("diff", "mine", "nowhere")


def test_a_damaged_layer_is_an_error(image: Callable[..., str], refused: Callable[..., str], mine: str, store: Store) -> None:
    (layer,) = json.loads(image("inspect", "mine"))["manifest"]["layers"]
    Path(store.blobs.path(layer["digest"])).chmod(0o600)
    Path(store.blobs.path(layer["digest"])).write_bytes(b"x" * layer["size"])

    assert f"layer {layer['digest']} is damaged" in refused("diff", "mine", "mine")


@needs("user-namespaces", "overlayfs", "libseccomp", "busybox")
def test_a_snapshot_differs_from_its_image_by_what_the_sandbox_has_changed(
    image: Callable[..., str], root: Path, store: Store, run_folders: Path
) -> None:
    (root / "srv" / "was").mkdir(parents=True)
    (root / "srv" / "was" / "here").write_text("0")
    (root / "srv" / "file").write_text("0")
    (root / "srv" / "mode").write_text("0")
    image("import", str(root), "small")
    removing = "rm -r /srv/was; rm /srv/file; mkdir /srv/file; echo 1 >/srv/file/in"
    adding = "chmod 600 /srv/mode; mkdir -p /new/a; chmod 700 /srv"
    connection = ServiceConnection.open()
    try:
        with Sandbox("small", connection=connection) as sandbox:
            sandbox.run(["sh", "-c", f"{removing}; {adding}"], check=True)
            changes = [asdict(change) for change in sandbox.diff()]
            sandbox.snapshot("later")
    finally:
        connection.leave()
    shutil.rmtree(root)

    found = json.loads(image("diff", "--json", "small", "later"))

    assert found == [{"kind": each["kind"], "path": each["path"]} for each in changes]
    assert {"kind": "removed", "path": "/srv/was"} in found


@needs("user-namespaces", "overlayfs", "libseccomp")
def test_snapshots_over_the_host_are_compared_by_what_lies_over_it(
    image: Callable[..., str], store: Store, run_folders: Path
) -> None:
    connection = ServiceConnection.open()
    try:
        with Sandbox("host", connection=connection) as sandbox:
            sandbox.run(["sh", "-c", "echo 1 >/srv/one; echo 1 >/srv/two"], check=True)
            sandbox.snapshot("earlier")
            sandbox.run(
                ["sh", "-c", "rm /srv/one; echo 2 >/srv/two; rm /etc/passwd; echo >/etc/passwd; rm /etc/group"], check=True
            )
            sandbox.snapshot("later")
    finally:
        connection.leave()

    lines = image("diff", "earlier", "later").splitlines()

    assert lines == ["D /etc/group", "C /etc/passwd", "D /srv/one", "C /srv/two"]
