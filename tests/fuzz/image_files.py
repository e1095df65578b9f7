"""Whole images in a file, as `docker save` writes them and as an OCI archive: each is stored, or an ImageError."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
from pathlib import Path
from random import Random
from typing import Any

from fuzz.documents import config
from fuzz.mutation import chance, damaged, damaged_json
from fuzz.tars import tar

from lxsandbox.images.archives import import_tar, read_docker_archive, read_oci_archive
from lxsandbox.images.blobs import Blobs
from lxsandbox.images.documents import LAYER_TYPE, MANIFEST_TYPE, Platform

__all__ = ["ImageFiles"]

_FORMATS = (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT)


class ImageFiles:
    """Archives of images, with something exchanged in their documents or damaged in their tar."""

    name = "files"

    def __init__(self, folder: Path) -> None:
        self._file = folder / "image"
        self._store = folder / "store"

    def make(self, random: Random) -> tuple[str, bytes]:
        """By what it is read, and the file."""
        kind = random.choice(("docker-archive", "oci-archive", "tar"))
        if kind == "tar" or chance(random, 0.1):
            return kind, tar(random)
        files = _docker(random) if kind == "docker-archive" else _oci(random)
        data = _tar_of(random, files)
        return kind, damaged(random, data) if chance(random, 0.4) else data

    def attempt(self, made: tuple[str, bytes]) -> bool:
        kind, data = made
        self._file.write_bytes(data)
        blobs = Blobs(str(self._store))
        try:
            if kind == "docker-archive":
                found = read_docker_archive(str(self._file), blobs)
            elif kind == "oci-archive":
                found = read_oci_archive(str(self._file), blobs, platform=Platform(architecture="amd64"))
            else:
                found = import_tar(str(self._file), blobs)
            assert len(blobs.read(found.digest, at_most=1 << 20)) == found.size
        finally:
            shutil.rmtree(self._store, ignore_errors=True)  # where the file was refused early there is none
        return True


def _layer(random: Random) -> bytes:
    return tar(random) if chance(random, 0.3) else bytes(random.choice((1024, 10_240)))


def _config(random: Random, layers: list[bytes]) -> bytes:
    document = config(random)
    document["rootfs"]["diff_ids"] = [_digest(layer) for layer in layers]
    return _document(random, document)


def _document(random: Random, document: object) -> bytes:
    return damaged_json(random, document, most=2) if chance(random, 0.3) else json.dumps(document).encode()


def _docker(random: Random) -> dict[str, bytes]:
    layers = [_layer(random) for _ in range(random.randrange(3))]
    data = _config(random, layers)
    name = f"{_digest(data)[7:]}.json"
    names = [f"{number}/layer.tar" for number in range(len(layers))]
    listed: list[dict[str, Any]] = [{"Config": name, "RepoTags": ["app:1"], "Layers": names}]
    return {name: data, **dict(zip(names, layers, strict=True)), "manifest.json": _document(random, listed)}


def _oci(random: Random) -> dict[str, bytes]:
    layers = [_layer(random) for _ in range(random.randrange(3))]
    blobs: dict[str, bytes] = {}

    def described(data: bytes, media_type: str) -> dict[str, Any]:
        blobs[f"blobs/sha256/{_digest(data)[7:]}"] = data
        return {"mediaType": media_type, "digest": _digest(data), "size": len(data)}

    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": described(_config(random, layers), "application/vnd.oci.image.config.v1+json"),
        "layers": [described(layer, LAYER_TYPE) for layer in layers],
    }
    index = {"schemaVersion": 2, "manifests": [described(_document(random, manifest), MANIFEST_TYPE)]}
    return {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}', "index.json": _document(random, index), **blobs}


def _tar_of(random: Random, files: dict[str, bytes]) -> bytes:
    """With now and then an entry that is a link, or twice, or of another name."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=random.choice(_FORMATS)) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            if chance(random, 0.05):
                member.name = random.choice(("../x", "/etc/passwd", "a/../b", name, f"./{name}"))
            archive.addfile(member, io.BytesIO(data))
            if chance(random, 0.05):
                link = tarfile.TarInfo(random.choice(("x", name, "manifest.json", "index.json")))
                link.type = random.choice((tarfile.SYMTYPE, tarfile.LNKTYPE))
                link.linkname = random.choice((name, "x", "../../etc/passwd", "/etc/passwd"))
                archive.addfile(link)
    return out.getvalue()


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()
