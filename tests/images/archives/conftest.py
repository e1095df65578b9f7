"""Images made by hand, so that anything about them can be wrong; and images made by the tools that others use."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from lxsandbox.images.blobs import Blobs
from lxsandbox.images.documents import CONFIG_TYPE, INDEX_TYPE, LAYER_TYPE, MANIFEST_TYPE

TAG = "org.opencontainers.image.ref.name"


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def tar_of(files: dict[str, bytes]) -> bytes:
    """A tar of files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


class Layout:
    """A layout by hand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "blobs" / "sha256").mkdir(parents=True)
        (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    def blob(self, digest: str) -> Path:
        return self.folder / "blobs" / "sha256" / digest[7:]

    def add(self, data: bytes, media_type: str, /, **more: Any) -> dict[str, Any]:
        digest = digest_of(data)
        self.blob(digest).write_bytes(data)
        return {"mediaType": media_type, "digest": digest, "size": len(data), **more}

    def image(self, *contents: bytes, architecture: str = "amd64", **more: Any) -> dict[str, Any]:
        """An image of a layer for each of `contents`; returns its entry for an index."""
        layers = [tar_of({"file": content}) for content in contents]
        rootfs = {"type": "layers", "diff_ids": [digest_of(layer) for layer in layers]}
        config = json.dumps({"architecture": architecture, "os": "linux", "rootfs": rootfs}).encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": self.add(config, CONFIG_TYPE),
            "layers": [self.add(layer, LAYER_TYPE) for layer in layers],
        }
        return self.add(json.dumps(manifest).encode(), MANIFEST_TYPE, **more)

    def tagged(self, tag: str, *contents: bytes, **more: Any) -> dict[str, Any]:
        return self.image(*contents, annotations={TAG: tag}, **more)

    def for_platform(self, architecture: str) -> dict[str, Any]:
        platform = {"os": "linux", "architecture": architecture}
        return self.image(architecture.encode(), architecture=architecture, platform=platform)

    def index(self, entries: Iterable[dict[str, Any]], **more: Any) -> dict[str, Any]:
        """An index as a blob; returns its entry."""
        data = json.dumps({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": list(entries)}).encode()
        return self.add(data, INDEX_TYPE, **more)

    def list(self, *entries: dict[str, Any]) -> Layout:
        """Write index.json."""
        (self.folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))
        return self

    def archive(self, path: Path, *, backwards: bool = False) -> Path:
        """The same as a tar."""
        files = sorted(file for file in self.folder.rglob("*") if file.is_file())
        names = {str(file.relative_to(self.folder)): file.read_bytes() for file in files}
        path.write_bytes(tar_of(dict(reversed(names.items())) if backwards else names))
        return path


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "layout")


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(str(tmp_path / "store"))


@pytest.fixture
def stored(blobs: Blobs) -> Callable[[], set[str]]:
    """The digests of what is in the store."""
    return lambda: {f"sha256:{path.name}" for path in Path(blobs.folder).glob("blobs/sha256/*")}


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., str]:
    """Run a program in the test's folder, and give what it printed."""

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def umoci_layout(tmp_path: Path, run: Callable[..., str]) -> str:
    """A layout by umoci, with a config and two layers, tagged `made`."""
    tree = tmp_path / "tree"
    (tree / "bin").mkdir(parents=True)
    (tree / "bin" / "tool").write_text("tool")
    (tree / "etc").mkdir()
    (tree / "etc" / "passwd").write_text("root:x:0:0::/:/bin/sh\n")
    image = ("--image", "umoci:made")
    run("umoci", "init", "--layout", "umoci")
    run("umoci", "new", *image)
    rootless = ("--rootless",)
    run("umoci", "insert", *rootless, *image, "tree", "/")
    run("umoci", "config", *image, "--config.env", "A=b", "--config.cmd", "/bin/tool", "--config.label", "x=y")
    run("umoci", "insert", *rootless, *image, "tree/etc", "/etc2")
    return str(tmp_path / "umoci")
