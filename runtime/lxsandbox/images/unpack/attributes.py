"""What belongs to a file beside its content: owner, mode, times, extended attributes. What is left out, and why, is here."""

import errno
import os

from lxsandbox.images.unpack.headers import Entry
from lxsandbox.images.unpack.refusal import Refused, quoted

__all__ = ["Attributes", "is_kept"]

_ACLS = (b"system.posix_acl_access", b"system.posix_acl_default")
_CAPABILITY = b"security.capability"
_NOT_HERE = (errno.EOPNOTSUPP, errno.EPERM)  # this file system has none of the kind, or this user may not set it


class Attributes:
    """Sets attributes as far as this process may. Made when "/" is the root of what is unpacked."""

    def __init__(self) -> None:
        # With a single mapped id, all files belong to it.
        self._owners = _maps_ranges()

    def give_to_file(self, fd: int, entry: Entry) -> None:
        """Give them to the regular file that is open as `fd`; its content is whole. Raises Refused, OSError."""
        # In this order: a change of owner takes away set-user-id and capabilities, and all of it changes times.
        if self._owners:
            _own(fd, entry)
        os.chmod(fd, entry.mode)
        if entry.xattrs:
            _set(fd, self.kept(entry))
        os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))

    def give_to_folder(self, place: bytes, entry: Entry) -> None:
        """Give a folder what has no effect on what is made in it; the rest is for `finish_folder`. Raises Refused, OSError."""
        if self._owners:
            _own(place, entry, follow_symlinks=False)
        if entry.xattrs:
            _set(place, {name: value for name, value in self.kept(entry).items() if name not in _ACLS})

    def finish_folder(self, fd: int, mode: int, mtime_ns: int, acls: dict[bytes, bytes]) -> None:
        """Give the folder that is open as `fd` the rest. Raises Refused, OSError."""
        os.chmod(fd, mode)
        _set(fd, acls)
        os.utime(fd, ns=(mtime_ns, mtime_ns))

    def give_to_node(self, place: bytes, entry: Entry, *, link: bool) -> None:
        """Give them to the fifo, device or symbolic link at `place`, which was just made. Raises Refused, OSError."""
        if self._owners:
            _own(place, entry, follow_symlinks=False)
        if not link:
            os.chmod(place, entry.mode)
            _set(place, self.kept(entry))
        os.utime(place, ns=(entry.mtime_ns, entry.mtime_ns), follow_symlinks=False)

    def acls(self, entry: Entry) -> dict[bytes, bytes]:
        """The access control lists of the entry."""
        return {name: value for name, value in self.kept(entry).items() if name in _ACLS} if entry.xattrs else {}

    def kept(self, entry: Entry) -> dict[bytes, bytes]:
        """Its extended attributes without those that mean something to the host or to overlayfs.

        Of `security.*` capabilities alone are kept (selinux, ima, evm and the like are the host's), of `trusted.*` none, and
        none of `user.overlay.*`, which would be our own marks. Lists of access need ids, which a single id has not.
        """
        return {name: value for name, value in entry.xattrs.items() if is_kept(name) and (self._owners or name not in _ACLS)}


def is_kept(name: bytes) -> bool:
    """Whether an extended attribute of this name belongs to the file, where owners do."""
    if name.startswith(b"user."):
        return not name.startswith(b"user.overlay.")
    return name == _CAPABILITY or name in _ACLS


def _own(target: int | bytes, entry: Entry, *, follow_symlinks: bool = True) -> None:
    try:
        os.chown(target, entry.uid, entry.gid, follow_symlinks=follow_symlinks)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise Refused(f"its owner {entry.uid}:{entry.gid} is beyond the ids that are mapped here") from None


def _set(target: int | bytes, xattrs: dict[bytes, bytes]) -> None:
    for name, value in xattrs.items():
        try:
            os.setxattr(target, name, value)
        except OSError as error:
            if error.errno not in _NOT_HERE:
                raise Refused(f"its attribute {quoted(name)}: {error.strerror}") from None


def _maps_ranges() -> bool:
    # The root of the new root has no /proc: what the mapping allows is found out by asking for another id.
    try:
        os.chown("/", 1, 1)
        os.chown("/", 0, 0)
    except OSError:
        return False
    return True
