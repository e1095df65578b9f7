"""The one parser of sizes, durations, shares and rates, and the one formatter of sizes."""

from __future__ import annotations

import math
import re

from lxsandbox.errors import SpecError

__all__ = ["UNLIMITED", "format_size", "parse_duration", "parse_rate", "parse_share", "parse_size"]

UNLIMITED = "max"  # the word the kernel uses in cgroup v2 files

# As container tools and systemd read them: a bare letter and the IEC form are powers of 1024, the SI form of 1000.
_FACTORS = {"": 1, "B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "TB": 1000**4} | {
    prefix + suffix: 1024**power for power, prefix in enumerate("KMGT", start=1) for suffix in ("", "I", "IB")
}
_SIZE = re.compile(r"\s*([0-9]{1,20})(?:\.([0-9]{1,20}))?\s*([A-Za-z]*)\s*")
_DURATION = re.compile(r"\s*([0-9]{1,20}(?:\.[0-9]{1,20})?)\s*(us|ms|s|m|h)\s*")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_SHARE = re.compile(r"\s*([0-9]{1,20}(?:\.[0-9]{1,20})?)\s*%\s*")
_BITS = re.compile(r"\s*([0-9]{1,20}(?:\.[0-9]{1,20})?)\s*([kmgt]?)bit\s*", re.IGNORECASE)  # as tc(8) has them
_POWERS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


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


def parse_duration(value: float | str, *, what: str = "duration") -> float:
    """The seconds that `"100ms"`, `"1.5s"` or a plain number of seconds means. Raises SpecError, naming `what`, for all else."""
    hint = 'write seconds, or text like "100ms" or "1.5s"'
    if isinstance(value, str):
        match = _DURATION.fullmatch(value)
        seconds = float(match[1]) * _SECONDS[match[2]] if match else math.nan
    else:
        seconds = _number(value)
    if not 0 <= seconds < math.inf:
        raise SpecError(f"{what}={value!r} is not a duration", hint=hint)
    return seconds


def parse_share(value: float | str, *, what: str = "share") -> float:
    """The fraction of one that `"5%"` or a plain fraction means. Raises SpecError, naming `what`, for all else."""
    if isinstance(value, str):
        match = _SHARE.fullmatch(value)
        share = float(match[1]) / 100 if match else math.nan
    else:
        share = _number(value)
    if not 0 <= share <= 1:
        raise SpecError(f"{what}={value!r} is not a share of packets", hint='write a fraction from 0 to 1, or text like "5%"')
    return share


def parse_rate(value: int | str, *, what: str = "rate") -> int:
    """The bytes a second that `"10mbit"` (bits, powers of 1000), `"1M"` (a size, see `parse_size`) or a plain number means.

    Raises SpecError, naming `what`, for all else.
    """
    match = _BITS.fullmatch(value) if isinstance(value, str) else None
    if match is not None:
        return parse_size(int(float(match[1]) * _POWERS[match[2].lower()] / 8), what=what)
    try:
        return parse_size(value, what=what)
    except SpecError as error:
        hint = 'write bytes a second, or text like "10mbit" (bits) or "1M" (bytes)'
        raise SpecError(f"{what}={value!r} is not a rate", hint=hint) from error


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def format_size(count: int) -> str:
    """`count` bytes as people read them: `256 MiB`, `1.5 GiB`, `12 B`."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.4g} {unit}"
        amount /= 1024
    return f"{amount:.4g} TiB"
