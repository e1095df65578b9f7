"""Files with holes: where the stored bytes belong, in the four ways in which GNU tar writes it down.

Formats: GNU tar 1.35, "Storing Sparse Files": the old one in the header and blocks after it, and in pax records 0.0, 0.1, 1.0.
"""

from lxsandbox.images.unpack.headers import BLOCK_BYTES, FILES, Entry, Segments, decimal, parse_number
from lxsandbox.images.unpack.refusal import Refused

TYPE_CHECKING = False  # loaded by a clone of the spawner
if TYPE_CHECKING:
    from collections.abc import Callable

    ReadBlock = Callable[[], bytes]  # the next block of the archive

__all__ = ["read_map"]

_MOST_MAP_BYTES = 1 << 20
_OLD = b"S"


def read_map(entry: Entry, header: bytes, records: list[tuple[bytes, bytes]], read: "ReadBlock") -> None:
    """Give `entry` its segments, where it is sparse; `read` is asked for the blocks that the map goes on in. Raises Refused."""
    if entry.kind not in FILES:
        return
    named = dict(records)
    if entry.kind == _OLD:
        numbers, size = _old_numbers(header, read), parse_number(header[483:495], "size")
    elif b"GNU.sparse.major" in named:
        if (named[b"GNU.sparse.major"], named.get(b"GNU.sparse.minor")) != (b"1", b"0"):
            raise Refused("it is sparse in a version that is not known")
        numbers, size = _numbers_in_content(entry, read), _size(named, b"GNU.sparse.realsize")
    elif b"GNU.sparse.map" in named:
        numbers = [decimal(text, "sparse map") for text in named[b"GNU.sparse.map"].split(b",") if text]
        size = _size(named, b"GNU.sparse.size")
    elif b"GNU.sparse.size" in named:
        keys = (b"GNU.sparse.offset", b"GNU.sparse.numbytes")
        numbers = [decimal(value, "sparse map") for key, value in records if key in keys]
        size = _size(named, b"GNU.sparse.size")
    else:
        return
    if named.get(b"GNU.sparse.name"):
        entry.name = named[b"GNU.sparse.name"]
    entry.segments, entry.real_size = _checked(numbers, size, entry.size), size


def _size(records: dict[bytes, bytes], key: bytes) -> int:
    return decimal(records.get(key, b""), "size")


def _old_numbers(header: bytes, read: "ReadBlock") -> list[int]:
    # Four pairs in the header, then blocks of 21 pairs for as long as the byte after the pairs says so.
    numbers = _pairs(header[386:482])
    more = header[482]
    while more:
        if len(numbers) * 12 > _MOST_MAP_BYTES:
            raise Refused("its sparse map is too long")
        block = read()
        numbers += _pairs(block[:504])
        more = block[504]
    return numbers


def _pairs(field: bytes) -> list[int]:
    numbers: list[int] = []
    for at in range(0, len(field), 24):
        if not field[at]:  # the rest is not used
            break
        numbers += (parse_number(field[at : at + 12], "sparse map"), parse_number(field[at + 12 : at + 24], "sparse map"))
    return numbers


def _numbers_in_content(entry: Entry, read: "ReadBlock") -> list[int]:
    # Lines: how many pairs, then their numbers; as many whole blocks as that takes, in front of the content.
    blocks: list[bytes] = []
    lines, expected = 0, 1
    while lines < expected:
        if entry.size < BLOCK_BYTES or len(blocks) * BLOCK_BYTES >= _MOST_MAP_BYTES:
            raise Refused("its sparse map is too long")
        blocks.append(read())
        entry.size -= BLOCK_BYTES
        lines += blocks[-1].count(b"\n")
        if len(blocks) == 1:
            expected += 2 * decimal(blocks[0].partition(b"\n")[0], "sparse map")
    return [decimal(line, "sparse map") for line in b"".join(blocks).split(b"\n", expected)[1:expected]]


def _checked(numbers: list[int], size: int, stored: int) -> Segments:
    if len(numbers) % 2 or size < 0:
        raise Refused("its sparse map has an odd count of numbers, or a negative size")
    end = 0
    segments: Segments = []
    for offset, count in zip(numbers[::2], numbers[1::2], strict=True):
        if not end <= offset <= offset + count <= size:
            raise Refused("its sparse map is out of order, or leads beyond its end")
        end = offset + count
        if count:
            segments.append((offset, count))
    if sum(count for _, count in segments) != stored:
        raise Refused(f"its sparse map is for other than the {stored} bytes that are stored")
    return segments
