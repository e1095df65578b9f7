"""Images made of a busybox root, a registry to have them in, and a store of the test's own."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tarfile import TarInfo
from typing import Any

import pytest
from images.registry.servers import running_registry
from rootfs_real.busybox import make_root, make_tar

from lxsandbox import Sandbox
from lxsandbox.images.archives import export_layout, import_tar
from lxsandbox.images.blobs import Blobs
from lxsandbox.images.config import ImageConfig, parse_config
from lxsandbox.images.documents import LARGEST_DOCUMENT_BYTES, Descriptor, Manifest, parse_manifest
from lxsandbox.images.registry import Registry, push_image
from lxsandbox.sandbox.connection import ServiceConnection

Start = Callable[..., Sandbox]


@pytest.fixture
def place() -> Iterator[Path]:
    """A fresh folder that everybody may enter."""
    with tempfile.TemporaryDirectory(prefix="images-", ignore_cleanup_errors=True) as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.fixture
def in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole systems are made and kept in memory: thousands of small files, each of which takes a disk half a millisecond."""
    if os.path.isdir("/dev/shm"):
        monkeypatch.setenv("TMPDIR", "/dev/shm")
        monkeypatch.setattr(tempfile, "tempdir", "/dev/shm")


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, place: Path) -> Iterator[Path]:
    """Where the services of this test keep their images."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(place / "cache"))
    yield place / "cache" / "lxsandbox"
    if os.geteuid() != 0:  # unpacked with ids that this user cannot touch but in a user namespace that maps them
        subprocess.run(["unshare", "--user", "--map-root-user", "--map-auto", "rm", "-rf", place / "cache"], check=False)


@pytest.fixture
def start(store: Path) -> Iterator[Start]:
    """Sandboxes by a service of this test's own."""
    with ExitStack() as stack:
        connection = ServiceConnection.open()
        stack.callback(connection.leave)
        yield lambda image, **fields: stack.enter_context(Sandbox(image, connection=connection, **fields))


class Shelf:
    """Images of one busybox layer and of what tests put over it, outside of the store under test."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.blobs = Blobs(str(place / "shelf"))
        self._root = make_root(place / "root")
        self._count = 0
        self.layer_digest = ""  # of the uppermost layer that was made last

    def image(self, *texts: str, more: Mapping[str, TarInfo] | None = None, **settings: object) -> Descriptor:
        """An image with a layer for each of `texts`, which stands in /text, and with these fields of its configuration.

        `more` has a further entry for the layers of some texts.
        """
        tars: list[Path] = []
        for text in texts or ("",):
            self._count += 1
            further = (more[text],) if more and text in more else ()
            tars.append(make_tar(self.place / f"layer{self._count}.gz", self._root, text=text, more=further))
        return self.image_of(tars, **settings)

    def image_of(self, tars: Sequence[Path], **settings: object) -> Descriptor:
        """An image with these archives as its layers, lowest first."""
        layers: list[Descriptor] = []
        diff_ids: list[str] = []
        for tar in tars:
            base = import_tar(str(tar), self.blobs)
            manifest, config = self.read(base)
            layers += manifest.layers
            diff_ids += config.diff_ids
        fields: dict[str, object] = {"diff_ids": tuple(diff_ids), "history": (), **settings}
        whole: ImageConfig = replace(config, **fields)  # type: ignore[arg-type]
        data = whole.as_bytes()
        described = replace(manifest.config, digest=self.blobs.add(data), size=len(data))
        document = Manifest(config=described, layers=tuple(layers)).as_bytes()
        self.layer_digest = layers[-1].digest
        return Descriptor(media_type=manifest.media_type, digest=self.blobs.add(document), size=len(document))

    def busybox(self) -> Path:
        """An archive of a root that has programs."""
        return make_tar(self.place / "busybox.tar", self._root)

    def read(self, descriptor: Descriptor) -> tuple[Manifest, ImageConfig]:
        manifest = parse_manifest(self.blobs.read(descriptor.digest, at_most=LARGEST_DOCUMENT_BYTES))
        assert isinstance(manifest, Manifest)
        return manifest, parse_config(self.blobs.read(manifest.config.digest, at_most=LARGEST_DOCUMENT_BYTES))

    def layout(self, *texts: str, **settings: Any) -> str:
        """Such an image as an OCI layout: its reference."""
        return self.exported(self.image(*texts, **settings))

    def exported(self, image: Descriptor) -> str:
        """The image as an OCI layout: its reference."""
        self._count += 1
        folder = self.place / f"layout{self._count}"
        export_layout(image, self.blobs, str(folder), "it")
        return f"oci:{folder}:it"

    def push(self, host: str, repository: str, *texts: str, **settings: Any) -> str:
        """Such an image in a registry: its reference."""
        with Registry(host, credentials=lambda name, where: None) as registry:
            push_image(registry, repository, "1", self.image(*texts, **settings), self.blobs)
        return f"{host}/{repository}:1"


@pytest.fixture
def shelf(place: Path) -> Shelf:
    return Shelf(place)


@pytest.fixture
def registry(place: Path) -> Iterator[str]:
    """The host of a registry of this test's own."""
    folder = place / "registry"
    folder.mkdir()
    with running_registry(folder) as host:
        yield host
