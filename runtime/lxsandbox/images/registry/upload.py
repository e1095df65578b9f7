"""One blob on its way from the store to a registry: in one piece, or in chunks that are taken up where the registry stands.

Source: distribution-spec v1.1, "Pushing blobs".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from urllib.parse import urlencode

from lxsandbox.errors import ImageError
from lxsandbox.images.blobs import Blobs
from lxsandbox.images.documents import Descriptor
from lxsandbox.images.registry.failures import RegistryError, Stopped
from lxsandbox.images.registry.patience import Attempts
from lxsandbox.images.registry.progress import Meter, Progress
from lxsandbox.images.registry.session import Document, Request, Session
from lxsandbox.images.registry.stop import Stop
from lxsandbox.images.registry.transport import Body

__all__ = ["Upload"]

_BLOCK_BYTES = 1 << 18
_RANGE = re.compile(r"(?:bytes=)?0-(\d{1,15})")
_LARGEST_CHUNK_BYTES = 1 << 30  # that a registry may ask for as its least


class Upload:
    """Of one blob to one repository."""

    def __init__(
        self,
        session: Session,
        repository: str,
        blob: Descriptor,
        blobs: Blobs,
        *,
        mount_from: str | None,
        chunk_bytes: int,
        stopped: Stop,
    ) -> None:
        self._session = session
        self._repository = repository
        self._subject = session.subject(repository)
        self._blob = blob
        self._blobs = blobs
        self._mount_from = mount_from
        self._chunk_bytes = chunk_bytes
        self._stopped = stopped

    def run(self, progress: Progress) -> None:
        """Raises RegistryError when the registry does not take it, ImageError when it is not whole in the store."""
        found = self._blobs.size(self._blob.digest)
        if found != self._blob.size:
            raise ImageError(f"{self._blob.digest} has {found} bytes in the store, and its manifest says {self._blob.size}")
        if self._is_there():
            return
        with Meter(progress, self._blob.digest, self._blob.size) as meter:
            self._send(meter)
            meter.at(self._blob.size)

    def _send(self, meter: Meter) -> None:
        restarts = Attempts(self._session.patience, self._stopped)
        while True:
            try:
                return self._try(meter)
            except RegistryError as error:
                restarts.failed(error)
            if self._is_there():  # all of it came, and the answer was lost
                return None

    def _try(self, meter: Meter) -> None:
        location = self._begin()
        if location is None:
            return
        meter.at(0)
        if self._blob.size > self._chunk_bytes:
            self._finish(self._send_chunks(location, meter))
        else:
            self._finish(location, size=self._blob.size, meter=meter)

    def _is_there(self) -> bool:
        url = self._session.url(self._repository, "blobs", self._blob.digest)
        return self._ask("HEAD", url, (200, 404)).status == 200

    def _begin(self) -> str | None:
        """Where to send it; None when the registry has it from its other repository."""
        url = self._session.url(self._repository, "blobs", "uploads", "")
        if self._mount_from is not None:
            query = urlencode({"mount": self._blob.digest, "from": self._mount_from})
            answer = self._ask("POST", f"{url}?{query}", (201, 202), more_scopes=(f"repository:{self._mount_from}:pull",))
            if answer.status == 201:
                return None
        else:
            answer = self._ask("POST", url, (202,))
        self._grow_chunks(answer.headers)
        return self._session.resolve(answer, self._repository)

    def _grow_chunks(self, headers: Mapping[str, str]) -> None:
        least = headers.get("OCI-Chunk-Min-Length", "")
        if least.isascii() and least.isdigit():
            self._chunk_bytes = max(self._chunk_bytes, min(int(least[:15]), _LARGEST_CHUNK_BYTES))

    def _finish(self, location: str, *, size: int = 0, meter: Meter | None = None) -> None:
        url = f"{location}{'&' if '?' in location else '?'}{urlencode({'digest': self._blob.digest})}"
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        body: Body = (lambda: self._slice(0, size, meter)) if meter is not None else b""
        answer = self._ask("PUT", url, (201, 204), headers=headers, body=body, once=True)
        said = answer.headers.get("Docker-Content-Digest", self._blob.digest)
        if said != self._blob.digest:
            raise self._subject.error(f"blob {self._blob.digest} was kept by the registry as {said:.100}")

    def _send_chunks(self, location: str, meter: Meter) -> str:
        attempts = Attempts(self._session.patience, self._stopped)
        offset = farthest = 0
        while offset < self._blob.size:
            end = min(offset + self._chunk_bytes, self._blob.size)
            try:
                answer = self._send_chunk(location, offset, end, meter)
                location = self._session.resolve(answer, self._repository)
                reached = self._reached(answer, default=end)
            except RegistryError as error:
                attempts.failed(error)
                location, offset = self._where_it_stands(location)
                meter.at(offset)
                continue
            if reached > farthest:
                farthest = reached
                attempts.progressed()
            elif reached <= offset:
                what = f"the registry stays at {reached} bytes of {self._blob.digest}"
                attempts.failed(self._subject.error(what, transient=True))
            offset = reached
        return location

    def _send_chunk(self, location: str, offset: int, end: int, meter: Meter) -> Document:
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(end - offset),
            "Content-Range": f"{offset}-{end - 1}",
        }
        body: Body = lambda: self._slice(offset, end, meter)  # noqa: E731 - made anew for each try
        return self._ask("PATCH", location, (202, 204), headers=headers, body=body, once=True)

    def _where_it_stands(self, location: str) -> tuple[str, int]:
        """Where to go on, and from which byte. Raises RegistryError, transient, when the registry has let go of this upload."""
        try:
            answer = self._ask("GET", location, (200, 202, 204))
        except RegistryError as error:
            if error.is_auth_refusal:
                raise
            raise self._subject.error(f"{error.cause}: the upload begins again", status=error.status, transient=True) from None
        if "Location" in answer.headers:
            location = self._session.resolve(answer, self._repository)
        return location, self._reached(answer, default=0)

    def _reached(self, answer: Document, *, default: int) -> int:
        found = _RANGE.fullmatch(answer.headers.get("Range", ""))
        if found is None:
            return default
        # distribution says 0-0 for nothing at all too, and one byte more costs little
        reached = int(found[1]) + 1 if int(found[1]) else 0
        if reached > self._blob.size:
            raise self._subject.error(f"the registry has {reached} bytes of {self._blob.digest}, of {self._blob.size}")
        return reached

    def _slice(self, start: int, end: int, meter: Meter | None) -> Iterator[bytes]:
        with open(self._blobs.path(self._blob.digest), "rb") as file:
            file.seek(start)
            while start < end and (block := file.read(min(_BLOCK_BYTES, end - start))):
                if self._stopped.is_set():
                    raise Stopped
                yield block
                start += len(block)
                if meter is not None:
                    meter.at(start)

    def _ask(
        self,
        method: str,
        url: str,
        expected: tuple[int, ...],
        *,
        headers: Mapping[str, str] | None = None,
        body: Body = b"",
        more_scopes: tuple[str, ...] = (),
        once: bool = False,
    ) -> Document:
        request = Request(
            method=method,
            url=url,
            what=f"blob {self._blob.digest}",
            repository=self._repository,
            expected=expected,
            actions="pull,push",
            more_scopes=more_scopes,
            headers=headers or {},
            body=body,
        )
        if once:
            return self._session.fetch(request)
        return self._session.fetch_patiently(request, stopped=self._stopped)
