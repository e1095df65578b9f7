"""Small real images for the tests of the store, and what each should look like when it is unpacked."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lxsandbox.images.digests import digest_of
from lxsandbox.images.documents import CONFIG_TYPE, LAYER_TYPE, MANIFEST_TYPE, Descriptor, Manifest
from lxsandbox.images.store import Store

__all__ = ["Image", "Layer", "image", "tree_of"]


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A layer with the files that `text` names: `a=1 b=2`, as a plain tar."""

    text: str

    @property
    def files(self) -> dict[str, str]:
        return {name: content for name, _, content in (each.partition("=") for each in self.text.split())}

    @property
    def data(self) -> bytes:
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as archive:
            for name, content in self.files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content.encode()))
        return stream.getvalue()

    @property
    def digest(self) -> str:
        """Of the blob, and the diff id as well: nothing is compressed."""
        return digest_of(self.data)

    def unpack(self, folder: str) -> None:
        for name, content in self.files.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image of these layers."""

    layers: tuple[Layer, ...]

    @property
    def config(self) -> bytes:
        diff_ids = [layer.digest for layer in self.layers]
        root = {"type": "layers", "diff_ids": diff_ids}
        return json.dumps({"architecture": "amd64", "os": "linux", "rootfs": root, "config": {"Env": ["A=1"]}}).encode()

    @property
    def manifest(self) -> Manifest:
        return Manifest(
            config=_descriptor(CONFIG_TYPE, self.config),
            layers=tuple(_descriptor(LAYER_TYPE, layer.data) for layer in self.layers),
        )

    @property
    def descriptor(self) -> Descriptor:
        return _descriptor(MANIFEST_TYPE, self.manifest.as_bytes())

    @property
    def digests(self) -> set[str]:
        """Of all its blobs."""
        return {self.descriptor.digest, digest_of(self.config), *(layer.digest for layer in self.layers)}

    def put_into(self, store: Store) -> Descriptor:
        """Its blobs, as a pull would bring them."""
        for data in (self.manifest.as_bytes(), self.config, *(layer.data for layer in self.layers)):
            store.blobs.add(data)
        return self.descriptor

    def tag_in(self, store: Store, name: str) -> Descriptor:
        """As `put_into`, under a lease, and named."""
        with store.lease(self.descriptor):
            self.put_into(store)
            store.tag(name, self.descriptor)
        return self.descriptor

    def unpack_in(self, store: Store) -> list[str]:
        """The folders of its layers."""
        return [store.layer(layer.digest, layer.unpack, ids="host") for layer in self.layers]


def image(*layers: str) -> Image:
    """An image of layers given as `a=1 b=2`."""
    return Image(layers=tuple(Layer(text=text) for text in layers))


def tree_of(folder: str | Path) -> dict[str, str]:
    """The files below a folder, and what they hold."""
    return {str(path.relative_to(folder)): path.read_text() for path in Path(folder).rglob("*") if path.is_file()}


def remove(folder: str) -> None:
    shutil.rmtree(folder)


def _descriptor(media_type: str, data: bytes) -> Descriptor:
    return Descriptor(media_type=media_type, digest=digest_of(data), size=len(data))


def left_in(store: Store) -> Sequence[str]:
    """All files of the store below its folders, but for locks."""
    below = ("blobs", "fetching", "layers", "leases")
    paths = (path for name in below for path in Path(store.folder, name).rglob("*"))
    return sorted(str(path.relative_to(store.folder)) for path in paths if path.is_file() and path.suffix != ".lock")
