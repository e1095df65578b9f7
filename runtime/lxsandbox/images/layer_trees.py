"""The files of a layer, and of layers over one another, as values: what is at each place, with nothing unpacked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lxsandbox.images.unpack.headers import FOLDER

__all__ = ["WHITEOUT", "Content", "Folder", "Node", "Record", "put_over"]


@dataclass(slots=True, eq=False)
class Content:
    """What is in a file: that of entry `number` in the layer `diff_id`. `digest` is empty for as long as nobody asked for it."""

    diff_id: str
    number: int
    digest: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """What a file is, beside its content; of a folder and a link without what means nothing for them.

    `kind` is the type flag of tar. `seconds` is the time of the last change since 1970: many archives hold whole seconds only.
    """

    kind: bytes
    mode: int = 0
    uid: int = 0
    gid: int = 0
    seconds: int = 0
    size: int = 0
    link: bytes = b""
    device: tuple[int, int] = (0, 0)
    xattrs: Mapping[bytes, bytes] = field(default_factory=dict[bytes, bytes])
    content: Content | None = field(default=None, compare=False)


WHITEOUT = Record(kind=b"")
"""Nothing, and it hides what lies below."""
_UNDESCRIBED = Record(kind=FOLDER, mode=0o755)


@dataclass(slots=True, eq=False)
class Folder:
    """A folder; `record` is None where no layer says what it is itself. `opaque`: what lies below it is hidden."""

    record: Record | None = None
    opaque: bool = False
    children: dict[bytes, Node] = field(default_factory=dict[bytes, "Node"])


Node = Folder | Record


def put_over(lower: Folder, layer: Folder) -> None:
    """Put `layer` over the tree `lower`, which is changed; `layer` is not, and may be put over others.

    Where `lower` is opaque, nothing lies below it, and whiteouts do not stay. A folder that is there for what is in it is as it
    was in `lower` (image-spec, layer.md, "Applying Changesets").
    """
    if layer.opaque:
        lower.opaque = True
        lower.children.clear()
    waiting = [(lower, layer)]
    while waiting:
        under, over = waiting.pop()
        for name, node in over.children.items():
            if isinstance(node, Folder):
                waiting.append((_folder_over(under, name, node), node))
            elif node is WHITEOUT and under.opaque:
                under.children.pop(name, None)
            else:
                under.children[name] = node


def _folder_over(parent: Folder, name: bytes, node: Folder) -> Folder:
    below = parent.children.get(name)
    if not isinstance(below, Folder) or node.opaque:
        inherited = below.record if isinstance(below, Folder) else None
        opaque = node.opaque or parent.opaque or below is not None
        below = parent.children[name] = Folder(record=inherited, opaque=opaque)
    below.record = node.record or below.record or (_UNDESCRIBED if below.opaque else None)
    return below
