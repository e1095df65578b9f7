"""`Http`: a server answers as it should."""

from __future__ import annotations

import asyncio
import socket
from http.client import HTTPConnection, HTTPException, HTTPResponse, IncompleteRead
from io import BytesIO
from typing import TYPE_CHECKING, Any

from lxsandbox.conditions import Http, Port
from lxsandbox.service.readiness.ports import PortWatch

if TYPE_CHECKING:
    from lxsandbox.service.readiness.watch import Sight

__all__ = ["HttpWatch"]

_AGAIN_SECONDS = 0.02  # a request is work for the server, unlike a look at who listens
_ANSWER_SECONDS = 5.0  # a server that begins may forget its first clients
_BODY_BYTES = 1 << 20
_BLOCK_BYTES = 64 << 10
_LOOPBACKS = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))


class HttpWatch:
    """Waits until somebody listens, then asks again and again."""

    def __init__(self, condition: Http, sight: Sight) -> None:
        self._condition = condition
        self._sight = sight
        self._listening = PortWatch(Port(condition.port), sight)
        self._request = _request(condition)
        self._last = ""

    @property
    def seen(self) -> str:
        """What was seen last."""
        return self._last or self._listening.seen

    async def come_true(self) -> None:
        with self._sight.pace.turns(_AGAIN_SECONDS, costly=True) as turns:
            while True:
                await self._listening.come_true()
                try:
                    async with asyncio.timeout(_ANSWER_SECONDS):
                        if await self._answers():
                            return
                except TimeoutError:
                    self._last = f"it took the connection and did not answer within {_ANSWER_SECONDS:g} s"
                except (OSError, HTTPException) as error:
                    self._last = _in_words(error)
                await turns.pause()

    async def _answers(self) -> bool:
        """Ask once. Raises OSError, HTTPException."""
        loop = asyncio.get_running_loop()
        with await self._connected() as sock:
            await loop.sock_sendall(sock, self._request)
            received = bytearray()
            while len(received) < _BODY_BYTES + _BLOCK_BYTES:
                block = await loop.sock_recv(sock, _BLOCK_BYTES)
                received += block
                if not block or b"\r\n\r\n" in received or b"\n\n" in received:
                    if self._will_do(bytes(received)):
                        return True
                    if not block or not self._waits_for_more:
                        return False
        return False

    async def _connected(self) -> socket.socket:
        refused: OSError | None = None
        for family, address in _LOOPBACKS:
            sock: socket.socket | None = None
            try:
                sock = await self._sight.socket(family, socket.SOCK_STREAM)
                await asyncio.get_running_loop().sock_connect(sock, (address, self._condition.port))
                return sock
            except BaseException as error:
                if sock is not None:
                    sock.close()
                if not isinstance(error, OSError):
                    raise
                refused = refused or error
        assert refused is not None
        raise refused

    def _will_do(self, received: bytes) -> bool:
        """Whether what has come so far is what is waited for. Raises HTTPException for what is no answer."""
        answer = HTTPResponse(_Received(received), method=self._condition.method)  # type: ignore[arg-type]
        answer.begin()
        self._last = f"status {answer.status} {answer.reason}".rstrip()
        self._waits_for_more = False
        if not self._condition.accepts(answer.status):
            return False
        if self._condition.contains is None:
            return True
        try:
            body, self._waits_for_more = answer.read(), answer.length is None
        except IncompleteRead as error:
            body, self._waits_for_more = error.partial, True
        self._last += f", and a body of {len(body)} bytes without {self._condition.contains!r}"
        return self._condition.contains.encode() in body

    _waits_for_more = False


class _Received:
    """What has come, in the place of the socket that http.client reads an answer from."""

    def __init__(self, received: bytes) -> None:
        self._received = received

    def makefile(self, *_: Any) -> BytesIO:
        return BytesIO(self._received)


class _Writer(HTTPConnection):
    """Keeps the request instead of sending it."""

    def __init__(self, port: int) -> None:
        super().__init__("localhost", port)
        self.written = b""

    def send(self, data: Any) -> None:
        self.written += data


def _request(condition: Http) -> bytes:
    writer = _Writer(condition.port)
    given = {name.lower() for name in condition.headers}
    ours = {} if "connection" in given else {"Connection": "close"}
    writer.request(condition.method, condition.path, headers={**ours, **condition.headers})
    return writer.written


def _in_words(error: OSError | HTTPException) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "the connection over loopback was refused: what listens does so at another address"
    if isinstance(error, OSError):
        return f"the connection failed: {error.strerror or error}"
    return f"what it answered is not HTTP: {error}" if str(error) else f"what it answered is not HTTP: {error!r}"
