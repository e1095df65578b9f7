"""Unpacking a tar stream as the root of a file system, by a process that has made the target its root.

Runs in a clone of the spawner: whatever the archive names lies inside. Devices that the process may not make are left out: a
sandbox has a /dev of its own. Extended attributes other than file capabilities are not kept.
"""

import os
import sys
import tarfile

TYPE_CHECKING = False  # loaded by a clone of the spawner
if TYPE_CHECKING:
    from typing import IO

__all__ = ["unpack"]

_MAX_ENTRIES = 2_000_000
_MAX_BYTES = 64 << 30
_BLOCK_BYTES = 1 << 20


def unpack(stream: int, target: str) -> None:
    """Unpack what the descriptor `stream` yields into the empty folder `target`. Raises OSError, ValueError, tarfile.TarError."""
    # Loaded before the root changes: nothing can be imported after.
    archive = tarfile.open(fileobj=open(stream, "rb"), mode="r|", errorlevel=2)  # noqa: SIM115 - closed by the end of the process
    os.chroot(target)
    os.chdir("/")
    sys.meta_path.clear()  # what an import would find from here on is the archive's
    os.umask(0)
    folders: list[tarfile.TarInfo] = []
    size = 0
    for count, member in enumerate(archive):
        size += member.size
        if count > _MAX_ENTRIES or size > _MAX_BYTES:
            raise ValueError(f"more than {_MAX_ENTRIES} entries or {_MAX_BYTES >> 30} GiB")
        if member.size < 0:
            raise ValueError(f"entry {member.name!r} is {member.size} bytes long")
        path = _inside(member.name)
        if path == "/":
            continue
        try:
            _make(archive, member, path)
        except (OSError, OverflowError) as error:
            raise ValueError(f"entry {member.name!r}: {error}") from error
        if member.isdir():
            folders.append(member)
    for folder in reversed(folders):  # last, since making what is in them changes their times
        _set_owner_and_times(folder, _inside(folder.name))


def _inside(name: str) -> str:
    """The entry's path below the root. Raises ValueError, naming the entry, for one that means to lie elsewhere."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in name:
        raise ValueError(f"entry {name!r} leads out of the root")
    return "/" + "/".join(parts)


def _link_target(member: tarfile.TarInfo) -> str:
    try:
        return _inside(member.linkname)
    except ValueError as error:
        raise ValueError(f"entry {member.name!r}: {error}") from error


def _make(archive: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> None:
    parent = os.path.dirname(path)
    os.makedirs(parent, 0o755, exist_ok=True)
    if member.isdir():
        if not os.path.isdir(path) or os.path.islink(path):
            _unlink(path)
            os.mkdir(path, 0o700)
        return
    _unlink(path)
    if member.isreg():
        source = archive.extractfile(member)
        if source is None:
            raise ValueError(f"entry {member.name!r} has no content")
        _copy(source, path)
    elif member.issym():
        os.symlink(member.linkname, path)
    elif member.islnk():
        os.link(_link_target(member), path, follow_symlinks=False)
        return
    elif member.isfifo():
        os.mkfifo(path, 0o600)
    elif member.ischr() or member.isblk():
        if not _make_device(member, path):
            return
    else:
        raise ValueError(f"entry {member.name!r} is of unknown type {member.type!r}")
    _set_owner_and_times(member, path)


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except IsADirectoryError as error:
        raise ValueError(f"entry {path!r} stands where a folder is") from error


def _copy(source: "IO[bytes]", path: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(fd, "wb", buffering=0) as file:
        while block := source.read(_BLOCK_BYTES):
            file.write(block)


def _make_device(member: tarfile.TarInfo, path: str) -> bool:
    kind = 0o020000 if member.ischr() else 0o060000
    try:
        os.mknod(path, kind | 0o600, os.makedev(member.devmajor, member.devminor))
    except PermissionError:
        return False  # a plain user may make none
    return True


def _set_owner_and_times(member: tarfile.TarInfo, path: str) -> None:
    try:
        os.chown(path, member.uid, member.gid, follow_symlinks=False)
    except OSError:
        if os.getuid() == 0 and _maps_ranges():
            raise  # with a single id, all files belong to it
    if not member.issym():
        os.chmod(path, member.mode & 0o7777)
    capability = member.pax_headers.get("SCHILY.xattr.security.capability")
    if capability and member.isreg():
        try:
            os.setxattr(path, "security.capability", capability.encode("utf-8", "surrogateescape"))
        except OSError:
            pass  # not in this user namespace: the file then has none
    os.utime(path, (member.mtime, member.mtime), follow_symlinks=False)


def _maps_ranges() -> bool:
    # The root of the new root has no /proc: what the mapping allows is found out by asking for another id.
    try:
        os.chown("/", 1, 1)
        os.chown("/", 0, 0)
    except OSError:
        return False
    return True
