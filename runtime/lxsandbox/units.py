"""The one parser of sizes and durations, and the one formatter of sizes."""

from __future__ import annotations

import re

from lxsandbox.errors import SpecError

__all__ = ["UNLIMITED", "format_size", "parse_size"]

UNLIMITED = "max"  # the word the kernel uses in cgroup v2 files

# As container tools and systemd read them: a bare letter and the IEC form are powers of 1024, the SI form of 1000.
_FACTORS = {"": 1, "B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "TB": 1000**4} | {
    prefix + suffix: 1024**power for power, prefix in enumerate("KMGT", start=1) for suffix in ("", "I", "IB")
}
_SIZE = re.compile(r"\s*([0-9]{1,20})(?:\.([0-9]{1,20}))?\s*([A-Za-z]*)\s*")


def parse_size(value: int | str, *, what: str = "size") -> int:
    """The number of bytes that `"256M"`, `"1.5GiB"` or a plain number of bytes means.

    Raises SpecError, naming `what`, for anything else, zero and negative numbers included.
    """
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise SpecError(f"{what}={value!r} is not a size", hint='write bytes, or text like "256M" or "1.5GiB"')
    if isinstance(value, int):
        size = value
    else:
        match = _SIZE.fullmatch(value)
        if match is None or match[3].upper() not in _FACTORS:
            raise SpecError(f"{what}={value!r} is not a size", hint='write bytes, or text like "256M" or "1.5GiB"')
        # Not by way of float, which has 53 bits.
        factor, fraction = _FACTORS[match[3].upper()], match[2] or "0"
        size = int(match[1]) * factor + int(fraction) * factor // 10 ** len(fraction)
    if not 0 < size < 2**63:
        raise SpecError(f"{what}={value!r} is out of range", hint="a size is from one byte to 8 EiB")
    return size


def format_size(count: int) -> str:
    """`count` bytes as people read them: `256 MiB`, `1.5 GiB`, `12 B`."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.4g} {unit}"
        amount /= 1024
    return f"{amount:.4g} TiB"
