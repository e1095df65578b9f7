"""Names as archives have them, and the paths below the root that they mean."""

from lxsandbox.images.unpack.refusal import Refused

__all__ = ["inside"]

_PATH_MAX = 4095  # limits.h, without the NUL


def inside(name: bytes) -> bytes:
    """The path that `name` means: below the root also where it is absolute, `/a/b`, and empty for the root itself.

    Raises Refused for one that leads elsewhere, or nowhere.
    """
    if b"\0" in name:
        raise Refused("has a NUL in its name")
    if len(name) > _PATH_MAX:
        raise Refused(f"has a name of {len(name)} bytes, and {_PATH_MAX} are possible")
    parts = [part for part in name.split(b"/") if part and part != b"."]
    if b".." in parts:
        raise Refused("leads out of the root")
    return b"".join([b"/" + part for part in parts])
