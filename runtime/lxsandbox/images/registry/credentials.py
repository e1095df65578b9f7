"""Logins, where container tools keep them. They are looked up when a registry asks for one, and never written.

Sources: docker's config.json (docs.docker.com/reference/cli/docker/login), containers-auth.json(5), and the protocol of
docker-credential-helpers.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lxsandbox.errors import ImageError
from lxsandbox.images.documents import as_object, load_object

__all__ = ["CredentialSource", "Credentials", "find_credentials"]

_HELPER_SECONDS = 30.0
_HELPER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_DOCKER_HUB = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_DOCKER_HUB_SERVER = "https://index.docker.io/v1/"  # how docker has always called it, in files and to helpers
_NOT_FOUND = "credentials not found"  # docker-credential-helpers, credentials/error.go
_IDENTITY = "<token>"  # the user name for which the secret is an identity token


@dataclass(frozen=True, kw_only=True, slots=True)
class Credentials:
    """A login: a name with its password, or an identity token (OAuth2's refresh token)."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)

    def basic(self) -> str:
        """As an Authorization header (RFC 7617)."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


# Host (with its port) and repository to a login, None where there is none. May raise ImageError.
CredentialSource = Callable[[str, str], Credentials | None]


def find_credentials(host: str, repository: str = "") -> Credentials | None:
    """The login for a registry: of docker's configuration if it has one, else of podman's. Raises ImageError, naming the file.

    Docker's is `$DOCKER_CONFIG/config.json` or `~/.docker/config.json`, podman's `$XDG_RUNTIME_DIR/containers/auth.json`.
    """
    for path in _files(os.environ):
        config = _load(path)
        found = _from_helper(config, host, path) or _from_file(config, host, repository, path)
        if found is not None:
            return found
    return None


def _files(environment: Mapping[str, str]) -> Iterator[str]:
    folder = environment.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")
    yield os.path.join(folder, "config.json")
    if runtime := environment.get("XDG_RUNTIME_DIR"):
        yield os.path.join(runtime, "containers", "auth.json")


def _load(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            return load_object(file.read(), path)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise ImageError(f"{path}, where logins are kept, cannot be read: {error.strerror}", hint="see whose it is") from None


def _server(key: str) -> str:
    """A key of the files as a host, with a path behind it if it is podman's: they are written with and without a scheme."""
    _, separator, rest = key.rpartition("://")
    name, _slash, path = rest.partition("/")
    host = "docker.io" if name in _DOCKER_HUB else name
    # docker writes addresses of an API, podman the repositories that a login is for
    return host if separator or path.strip("/") in ("", "v1", "v2") else f"{host}/{path.rstrip('/')}"


def _from_file(config: Mapping[str, Any], host: str, repository: str, path: str) -> Credentials | None:
    entries = {_server(key): value for key, value in as_object(config.get("auths", {}), f"{path}: auths").items()}
    name = f"{_server(host)}/{repository}".rstrip("/")
    while name:
        if name in entries:
            return _entry(as_object(entries[name], f"{path}: {name}"), f"{path}: {name}")
        name = name.rpartition("/")[0]  # podman: the most specific wins
    return None


def _entry(entry: Mapping[str, Any], what: str) -> Credentials | None:
    token = entry.get("identitytoken")
    if isinstance(token, str) and token:
        return Credentials(identity_token=token)
    encoded = entry.get("auth")
    if not encoded:
        return None  # what docker leaves where a helper has the rest
    try:
        username, separator, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, ValueError, TypeError):
        separator = username = password = ""
    if not separator:
        raise ImageError(f"{what}: `auth` is not the base64 form of NAME:PASSWORD", hint="log in again")
    return Credentials(username=username, password=password.rstrip("\0"))


def _from_helper(config: Mapping[str, Any], host: str, path: str) -> Credentials | None:
    helpers = {_server(key): value for key, value in as_object(config.get("credHelpers", {}), f"{path}: credHelpers").items()}
    name = helpers.get(_server(host)) or config.get("credsStore")
    if not name:
        return None
    if not isinstance(name, str) or not _HELPER_NAME.fullmatch(name):
        raise ImageError(f"{path}: {name!r:.100} is not the name of a credential helper")
    server = _DOCKER_HUB_SERVER if _server(host) == "docker.io" else host
    return _ask(f"docker-credential-{name}", server, path)


def _ask(program: str, server: str, path: str) -> Credentials | None:
    hint = f"{path} names it for {server}; install it, or take it out of there"
    try:
        # A session of its own, so that what it started ends with it when it hangs.
        process = subprocess.Popen(
            [program, "get"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise ImageError(f"{program} cannot be started: {error.strerror}", hint=hint) from None
    with process:
        try:
            output, errors = process.communicate(server.encode(), timeout=_HELPER_SECONDS)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            raise ImageError(f"{program} gave no login within {_HELPER_SECONDS:.0f} s", hint=hint) from None
    said = (output if process.returncode else errors).decode(errors="replace").strip()
    if process.returncode:
        if _NOT_FOUND in said:
            return None
        said = said or errors.decode(errors="replace").strip()
        raise ImageError(f"{program} failed with {process.returncode}: {said:.200}", hint=hint)
    return _answer(load_object(output, f"the answer of {program}"), program)


def _answer(answer: Mapping[str, Any], program: str) -> Credentials:
    username, secret = answer.get("Username"), answer.get("Secret")
    if not isinstance(username, str) or not isinstance(secret, str):
        raise ImageError(f"the answer of {program} has no Username and Secret")
    if username == _IDENTITY:
        return Credentials(identity_token=secret)
    return Credentials(username=username, password=secret)
