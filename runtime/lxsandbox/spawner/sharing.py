"""Memory that every init shares with the spawner: what is there before the first clone, a clone shall not write to.

A clone gets a page of its own by writing to it, and CPython writes to each object that it uses: the reference count. What these
functions do takes two fifths of an init's memory away, and the page faults with it; see docs/decisions/0006-init-in-python.md.
"""

import ctypes
import gc
import sys
from types import CodeType

__all__ = ["share_memory"]

# Include/refcount.h (PEP 683): a count whose low 32 bits are these is neither raised nor lowered. No other is so high.
_IMMORTAL, _LEAST_IMMORTAL = 0xFFFFFFFF, 1 << 31

# Objects/obmalloc.c: small objects come in size classes of 16 bytes, up to 512, each in pools of its own.
_SIZE_STEP, _LARGEST_SIZE = 16, 512
_EMPTY_BYTES_SIZE = 33
_HOLES = 64  # of each size; about as many as an interpreter leaves that has just imported what it needs

_count_at = ctypes.c_uint32.from_address
_fillers: list[list[bytes]] = []


def share_memory() -> None:
    """Keep all that is here now, for good, on pages which a clone has little reason to write to.

    To be called once, by a process that has loaded all it needs and will only clone.
    """
    gc.collect()
    _fill_holes()
    if _counts_can_be_pinned():
        _pin_counts()
    # No collection of what is here now either: it writes to every object's header.
    gc.freeze()
    gc.disable()


def _fill_holes() -> None:
    """Leave no room between the objects: what an init makes then lies together, and not on a page for each hole."""
    sizes = range(3 * _SIZE_STEP, _LARGEST_SIZE + 1, _SIZE_STEP)
    _fillers.extend([bytes(size - _EMPTY_BYTES_SIZE) for _ in range(_HOLES)] for size in sizes)


def _counts_can_be_pinned() -> bool:
    """Whether this interpreter knows immortal objects, and has the count where the rest of this module looks for it."""
    if sys.hexversion < 0x030C00F0 or sys.abiflags or sys.byteorder != "little" or sys.maxsize < 1 << 32:
        return False
    probe = object()
    count = _count_at(id(probe))
    before = count.value
    again = [probe, probe]
    return count.value == before + len(again)


def _pin_counts() -> None:
    """Make every object immortal that the collector knows, or that is reached from one it knows."""
    waiting = gc.get_objects()
    while waiting:
        each = waiting.pop()
        if sys.getrefcount(each) < _LEAST_IMMORTAL:
            _count_at(id(each)).value = _IMMORTAL
            waiting += gc.get_referents(each)
            if type(each) is CodeType:
                waiting += each.co_consts  # which the collector does not look into
