"""Speaking to one registry: logged in, redirects followed by hand, asked again when it fails for the moment.

Credentials are sent to the registry's own origin alone, also when an answer points elsewhere.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Generator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from lxsandbox.errors import ImageError
from lxsandbox.images.registry.addresses import base_url, resolve, same_origin
from lxsandbox.images.registry.credentials import CredentialSource
from lxsandbox.images.registry.failures import RegistryError, Subject, refusal
from lxsandbox.images.registry.patience import Attempts, Patience
from lxsandbox.images.registry.stop import Stop
from lxsandbox.images.registry.tokens import Authorizer
from lxsandbox.images.registry.transport import Answer, Body, Transport

__all__ = ["Document", "Request", "Session"]

T = TypeVar("T")

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 5
_LARGEST_ANSWER_BYTES = 1 << 20  # of what is no manifest and no blob: tokens, and answers that should be empty


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What is asked of a registry. `url` is absolute; `what` names it in errors; other than `expected` are refusals."""

    url: str
    what: str
    repository: str
    expected: tuple[int, ...] = (200,)
    method: str = "GET"
    actions: str = "pull"
    more_scopes: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: Body = b""

    @property
    def scope(self) -> str:
        """What a token has to be for (distribution's token scope documentation)."""
        return " ".join((f"repository:{self.repository}:{self.actions}", *self.more_scopes))


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """An answer that has been read to its end. `url` is where it came from."""

    status: int
    headers: Mapping[str, str]
    url: str
    body: bytes


class Session:
    """One registry. Raises ImageError for what is no host, or one that plain http is not for."""

    def __init__(
        self,
        host: str,
        *,
        insecure: bool,
        credentials: CredentialSource,
        token_hosts: Collection[str] = (),
        patience: Patience,
    ) -> None:
        self.base = base_url(host, insecure=insecure)
        self.name = host.rpartition("://")[2]
        self.patience = patience
        self._insecure = insecure
        self._transport = Transport(patience)
        self._authorizer = Authorizer(
            self.base, credentials=credentials, token_hosts=token_hosts, insecure=insecure, fetch=self._fetch_token
        )

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def subject(self, repository: str) -> Subject:
        return Subject(self.name, repository)

    def url(self, repository: str, *path: str) -> str:
        """An address of the API, distribution-spec "Endpoints"."""
        return "/".join((self.base, "v2", repository, *path))

    def resolve(self, document: Document, repository: str) -> str:
        """Where a Location points to. Raises RegistryError when there is none, or it may not be followed."""
        return self._next(document.headers, document.url, self.subject(repository))

    @contextlib.contextmanager
    def ask(self, request: Request) -> Generator[Answer]:
        """One try; the body is read by the caller. Raises RegistryError for anything but what was expected."""
        with contextlib.closing(self._authorized(request)) as answer:
            if answer.status not in request.expected:
                raise self._refusal(request.what, answer, self.subject(request.repository))
            yield answer

    def fetch(self, request: Request, *, at_most: int = _LARGEST_ANSWER_BYTES) -> Document:
        """One try, and the whole answer. Raises RegistryError."""
        with self.ask(request) as answer:
            body = answer.body(at_most=at_most)
            return Document(status=answer.status, headers=answer.headers, url=answer.url, body=body)

    def fetch_patiently(self, request: Request, *, at_most: int = _LARGEST_ANSWER_BYTES, stopped: Stop | None = None) -> Document:
        """The whole answer, asked for again while that may help, until `stopped`. Raises RegistryError."""
        return self._patiently(lambda: self.fetch(request, at_most=at_most), stopped)

    def _patiently(self, take: Callable[[], T], stopped: Stop | None = None) -> T:
        attempts = Attempts(self.patience, stopped or Stop())
        while True:
            try:
                return take()
            except RegistryError as error:
                attempts.failed(error)

    def _authorized(self, request: Request) -> Answer:
        subject = self.subject(request.repository)
        known = self._authorizer.header(request.scope)
        answer = self._followed(request, known, subject)
        if answer.status != 401 or not same_origin(answer.url, self.base):
            return answer  # what another host wants of us is no business of this registry's login
        with contextlib.closing(answer):
            answer.start()
            challenges = answer.headers.get("WWW-Authenticate", "")
            fresh = self._authorizer.answer(challenges, scope=request.scope, refused=known, subject=subject)
            if not fresh:
                raise self._refusal(request.what, answer, subject)
        return self._followed(request, fresh, subject)

    def _followed(self, request: Request, authorization: str, subject: Subject) -> Answer:
        url, at_home = request.url, True
        for _ in range(_MOST_REDIRECTS + 1):
            at_home = at_home and same_origin(url, self.base)
            login = {"Authorization": authorization} if authorization and at_home else {}
            answer = self._transport.send(request.method, url, {**request.headers, **login}, request.body, subject)
            if answer.status not in _REDIRECTS or request.method not in ("GET", "HEAD"):
                return answer
            with contextlib.closing(answer):
                answer.start()
                url = self._next(answer.headers, url, subject)
        raise subject.error(f"{request.what}: more than {_MOST_REDIRECTS} redirects")

    def _next(self, headers: Mapping[str, str], url: str, subject: Subject) -> str:
        location = headers.get("Location", "")
        if not location:
            raise subject.error("the registry points elsewhere and does not say where")
        try:
            return resolve(location, base=url, insecure=self._insecure)
        except ImageError as error:
            raise subject.error(f"a redirect is refused: {error.message}", hint=error.hint) from None

    def _refusal(self, what: str, answer: Answer, subject: Subject) -> RegistryError:
        return refusal(subject, what, answer.status, answer.headers, answer.start())

    def _fetch_token(self, url: str, authorization: str, form: bytes, subject: Subject) -> bytes:
        return self._patiently(lambda: self._fetch_token_once(url, authorization, form, subject))

    def _fetch_token_once(self, url: str, authorization: str, form: bytes, subject: Subject) -> bytes:
        # Redirects are not followed: a token server has no need of them, and they would carry the login along.
        headers = {"Authorization": authorization} if authorization else {}
        if form:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        with contextlib.closing(self._transport.send("POST" if form else "GET", url, headers, form, subject)) as answer:
            if answer.status != 200:
                raise self._refusal("the login", answer, subject)
            return answer.body(at_most=_LARGEST_ANSWER_BYTES)
