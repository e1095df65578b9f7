"""One blob on its way from a registry into the store: taken up where it ended, checked while it comes.

Source: distribution-spec v1.1 "Pulling blobs"; RFC 9110 14 for ranges.
"""

from __future__ import annotations

import re

from lxsandbox.errors import ImageError
from lxsandbox.images.blobs import Blobs, Part
from lxsandbox.images.documents import Descriptor
from lxsandbox.images.registry.client import Registry
from lxsandbox.images.registry.failures import RegistryError, Stopped
from lxsandbox.images.registry.patience import Attempts
from lxsandbox.images.registry.progress import Meter, Progress
from lxsandbox.images.registry.session import Request, Session
from lxsandbox.images.registry.stop import Stop
from lxsandbox.images.registry.transport import Answer

__all__ = ["fetch_blob"]

_RANGE = re.compile(r"bytes (\d{1,15})-\d{1,15}/(?:\d{1,15}|\*)")
_WORTH_COUNTING_BYTES = 1 << 16  # less than this beyond all before is no progress, else a byte for each try goes on for ever


def fetch_blob(
    registry: Registry, repository: str, wanted: Descriptor, blobs: Blobs, *, progress: Progress, stopped: Stop
) -> None:
    """Have the blob in `blobs`. Raises RegistryError when no source gives it whole and right, OSError on a full disk."""
    with blobs.fetching(wanted.digest, wanted.size) as part:
        if part is None:
            return
        with Meter(progress, wanted.digest, wanted.size) as meter:
            meter.at(part.offset)
            registry.first_that_can(lambda session: _Download(session, repository, part, meter, stopped).run())


class _Download:
    """One source's try at a part, which may hold what came from another."""

    def __init__(self, session: Session, repository: str, part: Part, meter: Meter, stopped: Stop) -> None:
        self._session = session
        self._repository = repository
        self._subject = session.subject(repository)
        self._part = part
        self._meter = meter
        self._stopped = stopped
        self._farthest = part.offset

    def run(self) -> None:
        had_a_beginning = self._part.offset > 0
        try:
            self._complete()
        except _Wrong as error:
            if not had_a_beginning:
                raise error.error from None
            # The beginning may be what is wrong, and it was not this source's; the part is empty now.
            self._farthest = 0
            try:
                self._complete()
            except _Wrong as again:
                raise again.error from None

    def _complete(self) -> None:
        attempts = Attempts(self._session.patience, self._stopped)
        try:
            while self._part.offset < self._part.size:
                self._receive_some(attempts)
            self._part.finish()
        except RegistryError:
            raise
        except ImageError as error:  # longer than it should be, or other than its digest says
            raise _Wrong(self._subject.error(error.message, hint=error.hint)) from None
        finally:
            self._meter.at(self._part.offset)

    def _receive_some(self, attempts: Attempts) -> None:
        try:
            self._receive()
            if self._part.offset < self._part.size:
                length = f"{self._part.offset} of {self._part.size} bytes"
                raise self._subject.error(f"blob {self._part.digest} ended after {length}", transient=True)
        except RegistryError as error:
            if self._part.offset >= self._farthest + _WORTH_COUNTING_BYTES:
                self._farthest = self._part.offset
                attempts.progressed()
            attempts.failed(error)

    def _receive(self) -> None:
        offset = self._part.offset
        request = Request(
            url=self._session.url(self._repository, "blobs", self._part.digest),
            what=f"blob {self._part.digest}",
            repository=self._repository,
            expected=(200, 206, 416) if offset else (200,),
            headers={"Range": f"bytes={offset}-"} if offset else {},
        )
        with self._session.ask(request) as answer, self._stopped.cuts(answer.cut):
            if offset and not _goes_on(answer, offset):
                self._part.restart()
                if answer.status != 200:
                    raise self._subject.error(
                        f"blob {self._part.digest}: the registry does not go on at {offset}", transient=True
                    )
            for block in answer.blocks():
                self._part.write(block)
                self._meter.at(self._part.offset)
                if self._stopped.is_set() and self._part.offset < self._part.size:
                    raise Stopped


class _Wrong(Exception):
    """All of it came, and it is not what it should be; `error` is for the caller."""

    def __init__(self, error: RegistryError) -> None:
        super().__init__(error)
        self.error = error


def _goes_on(answer: Answer, offset: int) -> bool:
    found = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    return answer.status == 206 and found is not None and int(found[1]) == offset
