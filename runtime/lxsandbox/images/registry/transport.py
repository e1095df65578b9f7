"""One request over HTTP and its answer: where urllib3 is called, and its errors become ours.

Nothing is followed, repeated or decoded here.
"""

from __future__ import annotations

import contextlib
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping

import urllib3
from urllib3.exceptions import HTTPError, NameResolutionError, NewConnectionError, SSLError
from urllib3.exceptions import TimeoutError as TimedOut
from urllib3.util import make_headers, parse_url

from lxsandbox.images.registry.addresses import host_of, is_loopback
from lxsandbox.images.registry.failures import RegistryError, Subject, printable
from lxsandbox.images.registry.patience import Patience

__all__ = ["Answer", "Body", "Transport"]

Body = bytes | Callable[[], Iterable[bytes]]  # a callable gives it anew for each try

_BLOCK_BYTES = 1 << 18
_LONGEST_START_BYTES = 1 << 16
_COMMON = {"User-Agent": "pytest-lxsandbox", "Accept-Encoding": "identity"}


class Answer:
    """An answer whose body is still to be read. `url` is where it came from."""

    def __init__(self, response: urllib3.BaseHTTPResponse, *, url: str, subject: Subject, patience: Patience) -> None:
        self.status = response.status
        self.headers = response.headers
        self.url = url
        self._response = response
        self._subject = subject
        self._patience = patience
        self._start = b""

    def blocks(self) -> Iterator[bytes]:
        """The body as it is sent. Raises RegistryError, transient, where it breaks off, stalls or crawls."""
        pace = _Pace(self._patience)
        while block := self._next_block():
            if not pace.keeps_up(len(block)):
                raise self._subject.error(
                    f"the answer comes slower than {self._patience.slowest_bytes_per_second} bytes a second", transient=True
                )
            yield block

    def body(self, *, at_most: int) -> bytes:
        """All of the body. Raises RegistryError, also when it is longer than `at_most` bytes."""
        body = bytearray()
        for block in self.blocks():
            body += block
            if len(body) > at_most:
                raise self._subject.error(f"the answer is longer than {at_most} bytes")
        return bytes(body)

    def start(self) -> bytes:
        """The beginning of a body that is of no use but for the words in it. Read to its end, its connection is used again."""
        with contextlib.suppress(RegistryError):
            for block in self.blocks():
                self._start += block
                if len(self._start) >= _LONGEST_START_BYTES:
                    break
        return self._start

    def cut(self) -> None:
        """End the body here and now, for a thread that is waiting for more of it; from another thread."""
        with contextlib.suppress(ValueError, RuntimeError, OSError):  # there is no more to wait for
            self._response.shutdown()

    def close(self) -> None:
        """Let go of the connection: for the next request when the body was read to its end, else for good."""
        self._response.close()
        self._response.release_conn()

    def _next_block(self) -> bytes:
        try:
            return self._response.read1(_BLOCK_BYTES, decode_content=False)
        except (HTTPError, OSError) as error:
            raise self._subject.error(f"the answer broke off: {_cause(error)}", transient=True) from error


class Transport:
    """Connections, kept for the next request. For several threads at once."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._tls = ssl.create_default_context()  # unlike urllib3's own it knows SSL_CERT_FILE
        self._pools: dict[str, urllib3.PoolManager] = {}
        self._lock = threading.Lock()

    def send(self, method: str, url: str, headers: Mapping[str, str], body: Body, subject: Subject) -> Answer:
        """Send one request. Raises RegistryError when no answer comes; transient, where it may be by chance."""
        try:
            response = self._pool(url).request(
                method,
                url,
                headers={**_COMMON, **headers},
                body=body() if callable(body) else body or None,
                preload_content=False,
                decode_content=False,
                redirect=False,
                retries=False,
                timeout=urllib3.Timeout(connect=self._patience.connect_seconds, read=self._patience.read_seconds),
            )
        except (HTTPError, OSError, ValueError) as error:
            raise _unreachable(error, url, subject) from error
        return Answer(response, url=url, subject=subject, patience=self._patience)

    def close(self) -> None:
        for pool in self._pools.values():
            pool.clear()

    def _pool(self, url: str) -> urllib3.PoolManager:
        proxy = _proxy_for(url)
        with self._lock:
            pool = self._pools.get(proxy)
            if pool is None:
                pool = self._pools[proxy] = self._new_pool(proxy)
            return pool

    def _new_pool(self, proxy: str) -> urllib3.PoolManager:
        if not proxy:
            return urllib3.PoolManager(maxsize=8, ssl_context=self._tls)
        auth = parse_url(proxy).auth
        headers = make_headers(proxy_basic_auth=auth) if auth else None
        return urllib3.ProxyManager(proxy, maxsize=8, ssl_context=self._tls, proxy_headers=headers)


class _Pace:
    """Whether a body that never stalls does come to an end: bytes in each time-out's length."""

    def __init__(self, patience: Patience) -> None:
        self._window_seconds = patience.read_seconds
        self._least = patience.slowest_bytes_per_second * patience.read_seconds
        self._begin()

    def _begin(self) -> None:
        self._since = time.monotonic()
        self._count = 0

    def keeps_up(self, count: int) -> bool:
        self._count += count
        if time.monotonic() - self._since < self._window_seconds:
            return True
        enough = self._count >= self._least
        self._begin()
        return enough


def _proxy_for(url: str) -> str:
    parsed = parse_url(url)
    if is_loopback(host_of(url)):
        return ""  # another machine's loopback is not this one's
    proxy = urllib.request.getproxies().get(parsed.scheme or "", "")  # HTTPS_PROXY and its like; then NO_PROXY
    return "" if not proxy or urllib.request.proxy_bypass(parsed.netloc or "") else proxy


def _unreachable(error: Exception, url: str, subject: Subject) -> RegistryError:
    host = parse_url(url).netloc
    if isinstance(error, SSLError):
        hint = "SSL_CERT_FILE names authorities to trust; a registry without TLS must be allowed as insecure"
        return subject.error(f"no secure connection to {host}: {_cause(error)}", hint=hint)
    hint = f"see whether {host} is right, and reachable from here: network, name service, HTTPS_PROXY"
    return subject.error(f"{host} does not answer: {_cause(error)}", hint=hint, transient=not isinstance(error, ValueError))


def _cause(error: BaseException) -> str:
    """What happened, without urllib3's names for it."""
    if isinstance(error, TimedOut) and not isinstance(error, NewConnectionError):
        return "time-out"
    if isinstance(error, NameResolutionError):
        return "its name is not known"
    inner = error.__cause__ or next((each for each in error.args if isinstance(each, BaseException)), None)
    if isinstance(inner, ssl.SSLCertVerificationError):
        return inner.verify_message
    if inner is not None:
        return _cause(inner)
    return printable(getattr(error, "strerror", None) or str(error) or type(error).__name__)
