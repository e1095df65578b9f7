"""Logging in: the Authorization header that answers a registry's challenge, kept for each scope.

Source: distribution's token-auth spec ("Token Authentication Specification", "OAuth2"), RFC 7617 for Basic.
A password goes to the registry, to a token server of the same site, or to one that was named; nowhere else.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from urllib.parse import urlencode

from lxsandbox.errors import ImageError
from lxsandbox.images.documents import load_object
from lxsandbox.images.registry.addresses import host_of, resolve, same_site
from lxsandbox.images.registry.challenge import Challenge, parse_challenges
from lxsandbox.images.registry.credentials import Credentials, CredentialSource
from lxsandbox.images.registry.failures import Subject

__all__ = ["Authorizer", "TokenFetch"]

# Address, Authorization header or "", form or b"", and whom it is for, to the body of the answer. Raises RegistryError.
TokenFetch = Callable[[str, str, bytes, Subject], bytes]


class Authorizer:
    """The Authorization headers for one registry. For several threads at once: only one of them logs in."""

    def __init__(
        self, base: str, *, credentials: CredentialSource, token_hosts: Collection[str], insecure: bool, fetch: TokenFetch
    ) -> None:
        self._base = base
        self._credentials = credentials
        self._token_hosts = frozenset(token_hosts)
        self._insecure = insecure
        self._fetch = fetch
        self._headers: dict[str, str] = {}
        self._lock = threading.Lock()

    def header(self, scope: str) -> str:
        """What has worked for `scope`; empty when nothing has been asked for."""
        return self._headers.get(scope, "")

    def answer(self, challenges: str, *, scope: str, refused: str, subject: Subject) -> str:
        """The header for `scope` after `refused` was refused with `challenges`; empty when there is no login to give.

        Raises RegistryError when the token server refuses, or is not one that may have the login.
        """
        with self._lock:
            known = self.header(scope)
            if known != refused:
                return known  # another thread has logged in meanwhile
            fresh = self._log_in(parse_challenges(challenges), scope, subject)
            self._headers[scope] = fresh
            return fresh

    def _log_in(self, challenges: list[Challenge], scope: str, subject: Subject) -> str:
        offered = {challenge.scheme: challenge for challenge in reversed(challenges)}
        if "bearer" in offered:
            return f"Bearer {self._token(offered['bearer'], scope, subject)}"
        if "basic" in offered:
            login = self._login(subject)
            return login.basic() if login is not None and not login.identity_token else ""
        return ""

    def _login(self, subject: Subject) -> Credentials | None:
        return self._credentials(self._base.partition("://")[2], subject.repository)

    def _token(self, challenge: Challenge, scope: str, subject: Subject) -> str:
        named = challenge.parameters.get("realm", "")
        if not named:
            raise subject.error("the registry wants a token, and names no server for it")
        try:
            realm = resolve(named, base=self._base, insecure=self._insecure)
        except ImageError as error:
            raise subject.error(f"the token server is refused: {error.message}", hint=error.hint) from None
        login = self._login(subject)
        if login is not None:
            self._check_may_have_login(realm, subject)
        question = [("service", challenge.parameters.get("service", "")), *(("scope", each) for each in scope.split(" "))]
        if login is not None and login.identity_token:
            form = [*question, ("grant_type", "refresh_token"), ("client_id", "pytest-lxsandbox")]
            body = self._fetch(realm, "", urlencode([*form, ("refresh_token", login.identity_token)]).encode(), subject)
        else:
            address = f"{realm}{'&' if '?' in realm else '?'}{urlencode(question)}"
            body = self._fetch(address, login.basic() if login is not None else "", b"", subject)
        return _token_in(body, subject)

    def _check_may_have_login(self, realm: str, subject: Subject) -> None:
        host, own = host_of(realm), host_of(self._base)
        if not same_site(host, own) and host not in self._token_hosts:
            raise subject.error(
                f"the registry wants the login for {own} to be sent to {host}, which is not of its site",
                hint=f"if that is right, allow {host} as a token host of this registry",
                status=401,
            )


def _token_in(body: bytes, subject: Subject) -> str:
    try:
        answer = load_object(body, "the token server's answer")
    except ImageError as error:
        raise subject.error(error.message) from None
    token = answer.get("token") or answer.get("access_token")
    if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable():
        raise subject.error("the token server's answer has no token in it")
    return token
