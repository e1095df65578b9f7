"""What a registry says in headers and bodies: challenges, addresses, ranges, times to wait, refusals, tokens."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from fuzz.mutation import damaged, damaged_json, damaged_text

from lxsandbox.errors import ImageError
from lxsandbox.images.registry.addresses import base_url, host_of, is_loopback, resolve, same_origin, same_site
from lxsandbox.images.registry.challenge import parse_challenges
from lxsandbox.images.registry.download import _RANGE as CONTENT_RANGE
from lxsandbox.images.registry.failures import Subject, refusal
from lxsandbox.images.registry.tokens import _token_in
from lxsandbox.images.registry.upload import _RANGE as RANGE

__all__ = ["Answers"]

_SUBJECT = Subject("registry.example", "team/app")
_CHALLENGES = (
    'Bearer realm="https://auth.example/token",service="registry.example",scope="repository:team/app:pull"',
    'Basic realm="x", Bearer realm="https://a/?b=c,d",error="invalid_token"', "Negotiate abc==, Basic", 'Digest a=b, c="d\\"e"',
    "",
)  # fmt: skip
_ADDRESSES = (
    "https://registry.example/v2/", "http://127.0.0.1:5000/v2/x?y=z#w", "/v2/uploads/1?_state=a%2Fb", "//other.example/x",
    "?x=1", "https://user:secret@host/x", "https://[::1]:5000/x", "ftp://x/", "file:///etc/passwd", "", "https://x.co.uk:443",
    "localhost:5000",
)  # fmt: skip
_TIMES = ("120", "0", "Wed, 21 Oct 2026 07:28:00 GMT", "Wed, 21 Oct 2026 07:28:00 +0130", "1e9", "-1")
_RANGES = ("bytes 0-10/20", "bytes 5-10/*", "0-10", "bytes=0-0", "bytes 0-999999999999999/1")
_BODIES = (
    {"errors": [{"code": "DENIED", "message": "no", "detail": {"a": [1]}}]},
    {"errors": []},
    {"token": "abc", "expires_in": 60},
)
_WORDS = (
    ",", ";", "=", '"', "\\", '\\"', " ", "\t", "\r\n", "\0", "://", "//", "..", "@", "[", "]", ":", "::", "%", "%00", "%zz",
    "?", "#", "é", "ß", "\u017f", "\u0663", "²", "。", "\u202e", "\ud800", "\xff", "\x1b[2J", "9" * 20, "9" * 5000, ":99999",
    ":-1", ":0", "xn--a", "[::1", "[fe80::1%25eth0]", "+9999", "-99999999999", " +999999999999", "GMT", "Bearer ", "Basic ",
    "realm=", 'realm="', "http:", "HTTPS:", "127.1", "0x7f.1", "localhost", "a" * 5000, "bytes ", "-", "/", "*", "\\\\" * 3000,
    "=" * 3000, " " * 3000, ", " * 3000,
)  # fmt: skip


class Answers:
    """One thing that a registry has said, damaged."""

    name = "answers"

    def make(self, random: Random) -> tuple[str, str, bytes]:
        """What it is, a text, and a body."""
        kind = random.choice(list(_KINDS))
        text = damaged_text(random, random.choice(_KINDS[kind][0]), words=_WORDS)
        body = damaged_json(random, random.choice(_BODIES))
        return kind, text, damaged(random, body) if random.random() < 0.2 else body

    def attempt(self, made: tuple[str, str, bytes]) -> bool:
        kind, text, body = made
        return _KINDS[kind][1](text, body)


def _challenge(text: str, body: bytes) -> bool:
    for challenge in parse_challenges(text):
        assert challenge.scheme == challenge.scheme.lower()
    return True


def _address(text: str, body: bytes) -> bool:
    base = "https://registry.example"
    for found in (resolve(text, base=base, insecure=True), base_url(text, insecure=True)):
        assert found.startswith(("https://", "http://"))
        assert host_of(found)
        is_loopback(host_of(found))
        same_site(host_of(found), "registry.example")
        assert same_origin(found, found)
    return True


def _safe_address(text: str, body: bytes) -> bool:
    """Over plain http nothing goes to another machine, and from https nothing at all."""
    assert resolve(text, base="https://registry.example/v2/", insecure=False).startswith("https://")
    found = base_url(text, insecure=False)
    assert found.startswith("https://") or is_loopback(host_of(found)), found
    return True


def _refusal(text: str, body: bytes) -> bool:
    error = refusal(_SUBJECT, "blob x", 429, {"Retry-After": text}, body)
    assert error.message.isprintable()
    assert error.retry_after_seconds is None or error.retry_after_seconds >= 0
    return True


def _token(text: str, body: bytes) -> bool:
    token = _token_in(body, _SUBJECT)
    assert token.isascii()
    assert token.isprintable()
    return True


def _range(text: str, body: bytes) -> bool:
    found = CONTENT_RANGE.fullmatch(text) or RANGE.fullmatch(text)
    if found is None:
        raise ImageError("no range")
    assert 0 <= int(found[1]) < 10**15
    return True


_KINDS: dict[str, tuple[tuple[str, ...], Callable[[str, bytes], bool]]] = {
    "challenge": (_CHALLENGES, _challenge),
    "address": (_ADDRESSES, _address),
    "safe address": (_ADDRESSES, _safe_address),
    "refusal": (_TIMES, _refusal),
    "token": (("",), _token),
    "range": (_RANGES, _range),
}
