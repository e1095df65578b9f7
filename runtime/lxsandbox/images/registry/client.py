"""A registry with its mirrors, and the manifests in it.

Source: distribution-spec v1.1, "Pulling manifests".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from types import TracebackType
from typing import Self, TypeVar

from lxsandbox.errors import ImageError
from lxsandbox.images.digests import check_digest, digest_of, hasher_for
from lxsandbox.images.documents import INDEX_TYPES, LARGEST_DOCUMENT_BYTES, MANIFEST_TYPES, parse_manifest
from lxsandbox.images.registry.credentials import CredentialSource, find_credentials
from lxsandbox.images.registry.failures import RegistryError, Subject
from lxsandbox.images.registry.patience import Patience
from lxsandbox.images.registry.session import Document, Request, Session

__all__ = ["Registry", "check_reference", "check_repository"]

T = TypeVar("T")

# distribution-spec, "Pulling manifests": <name> and <reference>. They become parts of an address.
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_LONGEST_REPOSITORY = 255
_KNOWN_TYPES = (*INDEX_TYPES, *MANIFEST_TYPES)


class Registry:
    """The registry at `host` (`127.0.0.1:5000`; `registry-1.docker.io` for docker.io). For several threads at once.

    `mirrors` are asked first, in their order. Plain http is spoken to loopback alone, or to all of them when `insecure`; a host
    may be written with its scheme. `token_hosts` are those outside the registry's site that may have the login.
    Close it, or use it as a context. Raises ImageError for what is no host.
    """

    def __init__(
        self,
        host: str,
        *,
        mirrors: Sequence[str] = (),
        insecure: bool = False,
        credentials: CredentialSource = find_credentials,
        token_hosts: Collection[str] = (),
        patience: Patience | None = None,
    ) -> None:
        def session(name: str) -> Session:
            return Session(
                name,
                insecure=insecure,
                credentials=credentials,
                token_hosts=token_hosts,
                patience=patience or Patience(),
            )

        self.host = host
        self.mirrors = tuple(session(mirror) for mirror in mirrors)
        self.origin = session(host)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        for session in (*self.mirrors, self.origin):
            session.close()

    def subject(self, repository: str) -> Subject:
        """Whom an error is about, when it is not one mirror's."""
        return self.origin.subject(repository)

    def first_that_can(self, take: Callable[[Session], T]) -> T:
        """What `take` gives for the first mirror that does not fail, else for the registry itself.

        Raises RegistryError: the registry's own, with what the mirrors said as notes; a mirror's, when it refuses the login.
        """
        failures: list[RegistryError] = []
        for mirror in self.mirrors:
            try:
                return take(mirror)
            except RegistryError as error:
                if error.is_auth_refusal:
                    raise
                failures.append(error)
        try:
            return take(self.origin)
        except RegistryError as error:
            for failure in failures:
                error.add_note(f"its mirror failed too: {failure.message}")
            raise

    def pull_manifest(self, repository: str, tag_or_digest: str) -> tuple[bytes, str, str]:
        """The manifest or index of that name: its bytes, its media type and its digest, by which it was checked.

        Raises ImageError for a name that is none; RegistryError when it cannot be had, or is not what it should be.
        """
        check_repository(repository)
        check_reference(tag_or_digest)
        return self.first_that_can(lambda session: _fetch(session, repository, tag_or_digest))


def check_repository(repository: str) -> None:
    """Raises ImageError for what is no repository's name."""
    if len(repository) > _LONGEST_REPOSITORY or not _REPOSITORY.fullmatch(repository):
        hint = "it has lower case letters, digits, and . _ - / between them"
        raise ImageError(f"{repository!r:.100} is no name of a repository", hint=hint)


def check_reference(tag_or_digest: str) -> None:
    """Raises ImageError for what is neither a tag nor a digest."""
    if ":" in tag_or_digest:
        check_digest(tag_or_digest)
    elif not _TAG.fullmatch(tag_or_digest):
        raise ImageError(f"{tag_or_digest!r:.100} is no tag", hint="a tag has letters, digits, and . _ - after the first")


def _fetch(session: Session, repository: str, tag_or_digest: str) -> tuple[bytes, str, str]:
    request = Request(
        url=session.url(repository, "manifests", tag_or_digest),
        what=f"manifest {tag_or_digest}",
        repository=repository,
        headers={"Accept": ", ".join(_KNOWN_TYPES)},
    )
    document = session.fetch_patiently(request, at_most=LARGEST_DOCUMENT_BYTES)
    subject = session.subject(repository)
    digest = _checked_digest(document, tag_or_digest, subject)
    return document.body, _checked_type(document, request.what, subject), digest


def _checked_type(document: Document, what: str, subject: Subject) -> str:
    said = document.headers.get("Content-Type", "").partition(";")[0].strip()
    try:
        found = parse_manifest(document.body, media_type=said if said in _KNOWN_TYPES else "", what=what).media_type
    except ImageError as error:  # also the page of a captive portal: the next source may have the manifest
        raise subject.error(error.message, hint=error.hint) from None
    if said in _KNOWN_TYPES and said != found:
        raise subject.error(f"{what} came as {said} and calls itself {found}, so what it means is left open")
    return found


def _checked_digest(document: Document, tag_or_digest: str, subject: Subject) -> str:
    said = document.headers.get("Docker-Content-Digest", "")
    asked = tag_or_digest if ":" in tag_or_digest else ""
    for name, digest in (("what was asked for", asked), ("its header Docker-Content-Digest", said)):
        if digest and not _is(digest, document.body, subject):
            raise subject.error(
                f"manifest {tag_or_digest} came as {digest_of(document.body)}, and not as {name} has it, {digest}",
                hint="somebody changed it on its way, or the registry is damaged",
            )
    return asked or said or digest_of(document.body)


def _is(digest: str, body: bytes, subject: Subject) -> bool:
    try:
        hasher = hasher_for(check_digest(digest, what="Docker-Content-Digest"))
    except ImageError as error:
        raise subject.error(error.message) from None
    hasher.update(body)
    return hasher.hexdigest() == digest.partition(":")[2]
