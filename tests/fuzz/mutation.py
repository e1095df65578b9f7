"""Small damage to bytes, texts and JSON: what every target's inputs get some of."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

__all__ = ["chance", "damaged", "damaged_json", "damaged_text", "some_of"]

_BYTES = (
    b"\0",
    b"\xff",
    b"\x80",
    b"\x7f",
    b" ",
    b"/",
    b"..",
    b"=",
    b"\n",
    b"-1",
    b"0",
    b"8",
    b"9" * 30,
    b"\xff" * 12,
    b"\x1b[2J",
)
_NUMBERS = (0, 1, -1, 511, 512, 513, 1 << 31, (1 << 32) - 1, 1 << 53, 1 << 63, 10**30, 0.5, 1e400, -0.0)
_TEXTS = (
    "", "a", "/", "..", "/../x", "a\0b", "\ud800", "\udcff", "\x1b[2J", "a\nb", "x" * 300, "=", ":", "é", "\uff53", "\u0663",
    "\U0001d7d9", "sha256:" + "0" * 64, "sha256:" + "g" * 64, "sha512:" + "0" * 128, "null", "1", "80/tcp", "SIGTERM", "linux",
    "\u202e", " ",
)  # fmt: skip
_DEPTHS = (1, 5, 60, 400, 900, *range(940, 1000), 3000, 100_000)


def chance(random: Random, probability: float) -> bool:
    """True so often."""
    return random.random() < probability


def some_of(random: Random, choices: Sequence[Any], most: int) -> list[Any]:
    """Up to `most` of them, in any order and perhaps repeated."""
    return [random.choice(choices) for _ in range(random.randint(0, most))]


def damaged(random: Random, data: bytes, *, most: int = 6, places: Sequence[int] = ()) -> bytes:
    """`data` with up to `most` changes; half of them at `places`, if there are some."""
    made = bytearray(data)
    for _ in range(random.randint(1, most)):
        at = random.randrange(len(made) + 1)
        if places and chance(random, 0.5):
            at = min(random.choice(places), len(made))
        end = min(len(made), at + random.choice((1, 1, 2, 8, 12, 100, 512, 4096)))
        match random.randrange(7):
            case 0 if at < len(made):
                made[at] ^= 1 << random.randrange(8)
            case 1 if at < len(made):
                made[at] = random.randrange(256)
            case 2:
                what = random.choice(_BYTES)
                made[at : at + len(what)] = what
            case 3:
                made[at:at] = random.choice(_BYTES)
            case 4:
                del made[at:end]
            case 5:
                made[at:at] = made[at:end]
            case _:
                to = random.randrange(len(made) + 1)
                made[to : to + end - at] = made[at:end]
    return bytes(made)


def damaged_text(random: Random, text: str, *, words: Sequence[str], most: int = 4) -> str:
    """`text` with words put in, and pieces taken out, doubled and moved."""
    for _ in range(random.randint(0, most)):
        at = random.randint(0, len(text))
        end = random.randint(at, min(len(text), at + 8))
        match random.randrange(5):
            case 0 | 1:
                text = text[:at] + random.choice(words) + text[at:]
            case 2:
                text = text[:at] + text[end:]
            case 3:
                text = text[:end] + text[at:end] * random.choice((1, 1, 2, 40)) + text[end:]
            case _:
                text = text[:at] + text[at:].swapcase() if chance(random, 0.5) else text[end:] + text[:end]
    return text


def damaged_json(random: Random, document: object, *, most: int = 4) -> bytes:
    """The document with some of its values exchanged, and now and then with the text of it damaged."""
    for _ in range(random.randint(0, most)):
        document = _exchanged(random, document)
    text = json.dumps(document, ensure_ascii=chance(random, 0.5))
    data = text.replace('"@deep"', _deep(random), 1).encode("utf-8", "surrogatepass")
    return damaged(random, data, most=3) if chance(random, 0.15) else data


def _exchanged(random: Random, node: Any) -> Any:
    if isinstance(node, dict) and node and chance(random, 0.85):
        changed = dict(node)
        key = random.choice(list(changed))
        match random.randrange(8):
            case 0:
                del changed[key]
            case 1:
                changed[random.choice(_TEXTS)] = changed[key]
            case 2:
                changed[random.choice(_TEXTS)] = changed.pop(key)
            case _:
                changed[key] = _exchanged(random, changed[key])
        return changed
    if isinstance(node, list) and node and chance(random, 0.85):
        items = list(node)
        at = random.randrange(len(items))
        match random.randrange(6):
            case 0:
                del items[at]
            case 1 if len(items) < 10:
                items *= random.choice((2, 3, 600))
            case _:
                items[at] = _exchanged(random, items[at])
        return items
    return _value(random)


def _value(random: Random) -> Any:
    values: list[Callable[[], Any]] = [
        lambda: random.choice(_TEXTS),
        lambda: random.choice(_NUMBERS),
        lambda: random.choice((None, True, False, [], {}, [[]], {"": {}}, [None], float("nan"))),
        lambda: {random.choice(_TEXTS): random.choice(_TEXTS)},
        lambda: [random.choice(_TEXTS)],
        lambda: "@deep",
    ]
    return random.choice(values)()


def _deep(random: Random) -> str:
    # A text, as json.dumps itself would give up before.
    if chance(random, 0.2):
        return "9" * 4400  # more digits than int() takes
    depth = random.choice(_DEPTHS)
    return "[" * depth + "]" * depth if chance(random, 0.5) else '{"a":' * depth + "1" + "}" * depth
