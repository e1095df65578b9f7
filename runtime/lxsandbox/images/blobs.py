"""Blobs by digest, as an OCI image layout has them (`blobs/sha256/…`): nothing that was not verified ever has its name.

What is being fetched lies in `fetching/` as a `.part`, under a lock of its own, and is taken up again by whoever asks next.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
from collections.abc import Callable, Generator, Iterable, Iterator

from filelock import FileLock, Timeout

from lxsandbox.errors import ImageError
from lxsandbox.images.digests import check_digest, digest_of, hasher_for, is_digest

__all__ = ["Blobs", "Part"]

_LOCK_SECONDS = 600.0
_BLOCK_BYTES = 1 << 20
_NEW = "new-"  # begins the names of parts whose digest is not known yet


class Part:
    """A blob on its way in. `offset` bytes of it are there."""

    def __init__(self, path: str, digest: str, size: int) -> None:
        self.digest = digest
        self.size = size
        self._file = open(path, "ab+")  # noqa: SIM115 - closed by `Blobs.fetching`
        self._hash = hasher_for(digest)
        self.offset = 0
        self._take_up()

    def _take_up(self) -> None:
        self._file.seek(0)
        while block := self._file.read(_BLOCK_BYTES):
            self._hash.update(block)
            self.offset += len(block)
        if self.offset > self.size:
            self.restart()

    def write(self, block: bytes) -> None:
        """Append. Raises ImageError when it gets longer than it was said to be, OSError on a full disk."""
        if self.offset + len(block) > self.size:
            self.restart()
            raise ImageError(f"{self.digest} is longer than the {self.size} bytes it was said to have")
        self._file.write(block)
        self._hash.update(block)
        self.offset += len(block)

    def restart(self) -> None:
        """Forget what is there: its source cannot go on from the middle, or it was wrong."""
        self._file.truncate(0)
        self._hash = hasher_for(self.digest)
        self.offset = 0

    def finish(self) -> None:
        """Raises ImageError unless all of it is there, and is what its digest says; what is wrong is forgotten."""
        if self.offset < self.size:
            raise ImageError(
                f"{self.digest} ended after {self.offset} of {self.size} bytes", hint="try again: it is taken up there"
            )
        found = f"{self.digest.partition(':')[0]}:{self._hash.hexdigest()}"
        if found != self.digest:
            self.restart()
            raise ImageError(
                f"what came as {self.digest} is {found}", hint="somebody changed it on its way, or its source is damaged"
            )
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


class Blobs:
    """The blobs below one folder, an OCI image layout. Several processes may use it at once."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def path(self, digest: str) -> str:
        """Where the blob is, or would be. Raises ImageError for what is no digest."""
        algorithm, _, encoded = check_digest(digest).partition(":")
        return os.path.join(self.folder, "blobs", algorithm, encoded)

    def has(self, digest: str) -> bool:
        """Whether it is there."""
        return os.path.isfile(self.path(digest))

    def size(self, digest: str) -> int:
        """Its size in bytes. Raises ImageError where it is not."""
        try:
            return os.stat(self.path(digest)).st_size
        except FileNotFoundError:
            raise _absent(digest) from None

    def read(self, digest: str, *, at_most: int) -> bytes:
        """The content, verified once more. A blob that was damaged is removed. Raises ImageError."""
        if self.size(digest) > at_most:
            raise ImageError(f"{digest} is larger than {at_most} bytes")
        data = b"".join(self.blocks(digest))
        hasher = hasher_for(digest)
        hasher.update(data)
        if hasher.hexdigest() != digest.partition(":")[2]:
            self.discard(digest)
            raise ImageError(f"{digest} was damaged on this disk and has been removed", hint="fetch the image again")
        return data

    def blocks(self, digest: str) -> Iterator[bytes]:
        """The content as it is on disk, unverified, in blocks of up to a MiB. Raises ImageError where there is none."""
        try:
            with open(self.path(digest), "rb") as file:
                while block := file.read(_BLOCK_BYTES):
                    yield block
        except FileNotFoundError:
            raise _absent(digest) from None

    def discard(self, digest: str) -> None:
        """Remove it, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path(digest))

    def is_sound(self, digest: str) -> bool:
        """Whether the blob, all of which is read, is what its digest says; else it is removed. Raises ImageError without one."""
        hasher = hasher_for(check_digest(digest))
        for block in self.blocks(digest):
            hasher.update(block)
        sound = hasher.hexdigest() == digest.partition(":")[2]
        if not sound:
            self.discard(digest)
        return sound

    def digests(self) -> Iterator[str]:
        """The digests of all the blobs there are."""
        for algorithm in _listed(os.path.join(self.folder, "blobs")):
            for name in _listed(os.path.join(self.folder, "blobs", algorithm)):
                if is_digest(f"{algorithm}:{name}"):  # else somebody else's file
                    yield f"{algorithm}:{name}"

    def parts(self) -> Iterator[str]:
        """The digests of the blobs that have been fetched in part, and of those that are being fetched."""
        for name in _listed(os.path.join(self.folder, "fetching")):
            digest = name.removesuffix(".part").replace("-", ":", 1)
            if name.endswith(".part") and is_digest(digest):
                yield digest

    def part_size(self, digest: str) -> int:
        """How many bytes of it have been fetched; 0 once it is a blob."""
        try:
            return os.stat(f"{self._beside(digest)}.part").st_size
        except FileNotFoundError:
            return 0

    def changed_at(self, digest: str) -> float:
        """When it came, or was held last, or the last of it that has come; in seconds since the epoch, 0 where nothing has."""
        for path in (self.path(digest), f"{self._beside(digest)}.part"):
            with contextlib.suppress(FileNotFoundError):
                return os.stat(path).st_mtime
        return 0.0

    def discard_part(self, digest: str) -> int:
        """Remove what was fetched of it in part, unless somebody is fetching it now. The bytes that were freed."""
        try:
            with FileLock(f"{self._beside(digest)}.lock", timeout=0):
                size = self.part_size(digest)
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(f"{self._beside(digest)}.part")
        except Timeout:
            return 0
        return size

    def add(self, data: bytes) -> str:
        """Store `data` and return its digest."""
        digest = digest_of(data)
        self.take_in(digest, len(data), [data])
        return digest

    def add_stream(self, blocks: Iterable[bytes | memoryview], *, hold: Callable[[str], None] | None = None) -> tuple[str, int]:
        """Store what `blocks` yields, whose digest nobody knows yet. Returns its digest and its size in bytes.

        `hold` is called with the digest before there is a blob of it, which somebody might remove. What `blocks` raises is
        passed on, and nothing is left.
        """
        area = os.path.join(self.folder, "fetching")
        os.makedirs(area, 0o700, exist_ok=True)
        place = os.path.join(area, f"{_NEW}{secrets.token_hex(8)}.part")
        hasher = hashlib.sha256()
        size = 0
        with open(place, "xb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # held to the end: see `discard_new_parts`
            try:
                for block in blocks:
                    file.write(block)
                    hasher.update(block)
                    size += len(block)
                file.flush()
                os.fsync(file.fileno())
                digest = f"sha256:{hasher.hexdigest()}"
                if hold is not None:
                    hold(digest)
                os.makedirs(os.path.dirname(self.path(digest)), 0o700, exist_ok=True)
                os.rename(place, self.path(digest))
            except BaseException:
                os.unlink(place)
                raise
        return digest, size

    def discard_new_parts(self) -> int:
        """Remove what killed processes left of blobs whose digest nobody knows. The bytes that were freed."""
        area = os.path.join(self.folder, "fetching")
        freed = 0
        for name in _listed(area):
            if name.startswith(_NEW):
                with contextlib.suppress(FileNotFoundError, BlockingIOError), open(os.path.join(area, name), "rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    freed += os.fstat(file.fileno()).st_size
                    os.unlink(os.path.join(area, name))
        return freed

    def take_in(self, digest: str, size: int, blocks: Iterable[bytes]) -> None:
        """Store what `blocks` yields, from its beginning, under `digest`; nothing is read when it is there. Raises ImageError."""
        with self.fetching(digest, size) as part:
            if part is not None:
                part.restart()
                for block in blocks:
                    part.write(block)

    @contextlib.contextmanager
    def fetching(self, digest: str, size: int) -> Generator[Part | None]:
        """The blob's part, for this process alone to write to; None when the blob is there already, also by another's doing.

        At the end it is verified and becomes the blob; what ends early stays as a part. Raises ImageError, also when another
        process has been fetching the same blob for ten minutes without an end.
        """
        path = self.path(digest)
        if os.path.isfile(path):
            yield None
            return
        beside = self._beside(digest)
        for folder in (os.path.dirname(path), os.path.dirname(beside)):
            os.makedirs(folder, 0o700, exist_ok=True)
        with _locked(f"{beside}.lock", digest):
            if os.path.isfile(path):
                yield None
                return
            with contextlib.closing(Part(f"{beside}.part", digest, size)) as part:
                yield part
                part.finish()
            os.rename(f"{beside}.part", path)

    def _beside(self, digest: str) -> str:
        return os.path.join(self.folder, "fetching", check_digest(digest).replace(":", "-"))


def _listed(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


@contextlib.contextmanager
def _locked(path: str, digest: str) -> Generator[None]:
    try:
        with FileLock(path, timeout=_LOCK_SECONDS):
            yield
    except Timeout:
        hint = "see whether it hangs, and end it; what it has fetched is taken up"
        raise ImageError(f"another process has been fetching {digest} for {_LOCK_SECONDS:.0f} s", hint=hint) from None


def _absent(digest: str) -> ImageError:
    return ImageError(f"there is no {digest} in the store", hint="fetch the image again")
