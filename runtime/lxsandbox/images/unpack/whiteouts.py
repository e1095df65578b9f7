"""The marks of a layer that hide what lower layers have, and what overlayfs has for them.

Formats: image-spec, layer.md, "Whiteouts"; Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories". Overlays
here are mounted with `userxattr`, so that the marks of overlayfs are `user.overlay.*`, for root too.
"""

import errno
import os
import stat

from lxsandbox.images.unpack.refusal import Refused

__all__ = ["ABSENT", "IGNORED", "OPAQUE", "is_whiteout", "make_opaque", "mark_of", "put_whiteout"]

ABSENT, OPAQUE, IGNORED = "absent", "opaque", "ignored"

_PREFIX = b".wh."
_OF_AUFS = b".wh..wh."  # names of aufs for itself; one of them is a mark
_OPAQUE_NAME = b".wh..wh..opq"

_OPAQUE_XATTR, _WHITEOUT_XATTR = b"user.overlay.opaque", b"user.overlay.whiteout"
_OPAQUE_FOLDER, _HAS_WHITEOUT_FILES = b"y", b"x"
_NO_WHITEOUT_DEVICES = (errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


def mark_of(path: bytes) -> str:
    """What the entry at `path` marks: ABSENT the file whose name follows the prefix, OPAQUE its folder, IGNORED nothing.

    Empty for an entry that is no mark. Raises Refused for a mark that makes no sense.
    """
    *folders, name = path.split(b"/")
    if any(part.startswith(_OF_AUFS) for part in folders) or (name.startswith(_OF_AUFS) and name != _OPAQUE_NAME):
        return IGNORED
    if any(part.startswith(_PREFIX) for part in folders):
        raise Refused("lies in a folder that has the name of a whiteout")
    if name == _OPAQUE_NAME:
        return OPAQUE
    if not name.startswith(_PREFIX):
        return ""
    if name.removeprefix(_PREFIX) in (b"", b".", b".."):
        raise Refused("is a whiteout of no file")
    return ABSENT


def put_whiteout(mark: bytes) -> None:
    """Hide what `mark`, the place of a mark, names in lower layers. What this layer has itself stays, as layer.md says."""
    folder, _, name = mark.rpartition(b"/")
    place = folder + b"/" + name.removeprefix(_PREFIX)
    if _get(folder or b"/", _OPAQUE_XATTR) == _OPAQUE_FOLDER:
        return  # it hides all, and a whiteout in it would be listed as a file
    try:
        _make_whiteout(folder or b"/", place)
    except FileExistsError:
        if stat.S_ISDIR(os.lstat(place).st_mode):
            make_opaque(place)


def _make_whiteout(folder: bytes, place: bytes) -> None:
    try:
        os.mknod(place, stat.S_IFCHR, 0)
    except OSError as error:
        if error.errno not in _NO_WHITEOUT_DEVICES:
            raise
        fd = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            os.setxattr(fd, _WHITEOUT_XATTR, b"y")
        finally:
            os.close(fd)
        os.setxattr(folder, _OPAQUE_XATTR, _HAS_WHITEOUT_FILES)


def make_opaque(folder: bytes) -> None:
    """Hide all that lower layers have in the folder. What this layer has in it stays, but for whiteouts."""
    if _get(folder, _OPAQUE_XATTR) == _OPAQUE_FOLDER:
        return
    os.setxattr(folder, _OPAQUE_XATTR, _OPAQUE_FOLDER)
    for name in os.listdir(folder):
        place = os.path.join(folder, name)
        if is_whiteout(place):
            os.unlink(place)


def is_whiteout(place: bytes) -> bool:
    """Whether a whiteout, of either form, is at `place`."""
    found = os.lstat(place)
    if stat.S_ISCHR(found.st_mode):
        return found.st_rdev == 0
    return stat.S_ISREG(found.st_mode) and _get(place, _WHITEOUT_XATTR) is not None


def _get(place: bytes, name: bytes) -> bytes | None:
    try:
        return os.getxattr(place, name, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.ENODATA, errno.EOPNOTSUPP):
            raise
        return None
