"""Workshops on plain folders: real files and processes, with no sandbox around them and no root of their own."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Generator
from pathlib import Path

from lxsandbox.errors import SandboxError
from lxsandbox.images.archives.imports import compressed_layer
from lxsandbox.images.archives.layers import Layer, decompressed_blocks
from lxsandbox.images.archives.manifests import load_image
from lxsandbox.images.archives.packing import pack_folder
from lxsandbox.images.blobs import Blobs
from lxsandbox.images.building import Base
from lxsandbox.images.building.context import Context
from lxsandbox.images.building.workshop import Command
from lxsandbox.images.library import HeldImage


class FolderWorkshops:
    """Each has its tree in a folder of its own, below `place`; `ran` has the commands of all, `opened` what each stood over."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.ran: list[Command] = []
        self.opened: list[Base] = []
        self.closed = False

    @contextlib.contextmanager
    def open(self, base: Base, blobs: Blobs, *, network: bool) -> Generator[FolderWorkshop]:
        if self.closed:
            raise SandboxError("nothing is carried out here any more")
        self.opened.append(base)
        folder = self.place / f"shop{len(self.opened)}"
        folder.mkdir(parents=True)
        if base.image is not None:
            for layer in load_image(base.image, blobs).manifest.layers:
                self._unpack(blobs.path(layer.digest), folder)
        with Context(str(folder)) as files:
            yield FolderWorkshop(self, folder, files, blobs)

    def unpacked(self, image: HeldImage, blobs: Blobs) -> Path:
        """The files of an image, in a new folder."""
        folder = self.place / f"tree-{image.descriptor.digest[-12:]}"
        folder.mkdir()
        for layer in image.manifest.layers:
            self._unpack(blobs.path(layer.digest), folder)
        return folder

    def _unpack(self, path: str, folder: Path) -> None:
        for entry in folder.iterdir():  # each layer of these has the whole tree
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        blob = self.place / "layer.tar"
        blob.write_bytes(b"".join(decompressed_blocks(functools.partial(open, path, "rb"), path)))
        with tarfile.open(blob) as archive:
            archive.extraction_filter = lambda member, _: member  # Python 3.11.2 knows no argument for it
            archive.extractall(folder, numeric_owner=True)


class FolderWorkshop:
    """See `workshop.Workshop`."""

    def __init__(self, all_of: FolderWorkshops, folder: Path, files: Context, blobs: Blobs) -> None:
        self._blobs = blobs
        self._all = all_of
        self._folder = folder
        self._before = b"".join(pack_folder(str(folder)))
        self.look = files.look
        self.names = files.names
        self.link = files.link
        self.open = files.open

    def _path(self, path: str) -> str:
        return str(self._folder / path.strip("/"))

    def run(self, command: Command, output: Callable[[bytes], None]) -> int:
        self._all.ran.append(command)
        env = {"PATH": os.environ["PATH"], **command.env}
        done = subprocess.run(command.args, cwd=self._path(command.cwd), env=env, capture_output=True, check=False)
        output(done.stdout + done.stderr)
        return done.returncode

    def account(self, text: str) -> tuple[int, int]:
        user, _, group = text.partition(":")
        return int(user), int(group or user)

    def make_folder(self, path: str, mode: int) -> None:
        os.mkdir(self._path(path), mode)

    def make_file(self, path: str, mode: int) -> int:
        return os.open(self._path(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)

    def make_link(self, path: str, target: str) -> None:
        os.symlink(target, self._path(path))

    def make_name(self, path: str, existing: str) -> None:
        os.link(self._path(existing), self._path(path))

    def remove(self, path: str) -> None:
        os.unlink(self._path(path))

    def settle(self, path: str, owner: tuple[int, int], mode: int | None = None, mtime_ns: int | None = None) -> None:
        if os.geteuid() == 0:
            os.chown(self._path(path), *owner, follow_symlinks=False)
        if mode is not None:
            os.chmod(self._path(path), mode)
        if mtime_ns is not None:
            os.utime(self._path(path), ns=(mtime_ns, mtime_ns))

    def layer(self) -> Layer | None:
        after = b"".join(pack_folder(str(self._folder)))
        return None if after == self._before else compressed_layer([after], self._blobs)
