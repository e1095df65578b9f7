"""References to images in a registry: how they are written, what is filled in, what is refused.

Source: the grammar and the rules for short names of https://github.com/distribution/reference (reference.go, regexp.go,
normalize.go), with the host told from the repository as containers-transports(5) has it.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Literal

from lxsandbox.errors import ImageError
from lxsandbox.images.digests import check_digest

__all__ = ["DOCKER_HUB", "TRANSPORT_WORDS", "RegistryReference", "check_host", "parse_registry_reference"]

DOCKER_HUB = "docker.io"
# What comes before a colon and is no image: the short text of an image of such a name would be read as something else.
TRANSPORT_WORDS = frozenset(
    {"build", "dir", "docker-archive", "host", "mmdebstrap", "oci", "oci-archive", "sha256", "tar"}
    | {"containers-storage", "docker-daemon", "ostree", "sif"}  # of other tools, and refused by name
)

_DOCKER_HUBS = frozenset({DOCKER_HUB, "index.docker.io", "registry-1.docker.io"})
_OFFICIAL = "library/"
_DEFAULT_TAG = "latest"
_LONGEST_NAME = 255  # of host, slash and repository together: distribution-spec, "Pulling manifests"

_HOST_WORD = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_BRACKETS = re.compile(r"\[([0-9a-f:]+)\](?::(.*))?", re.DOTALL)  # no zone: it means something on one machine alone
_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_IMAGE_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True, slots=True)
class RegistryReference:
    """An image in a registry. What is left out is filled in when it is made: Docker's registry, its `library/`, tag `latest`.

    A tag beside a digest says what the digest was called; the digest counts. Raises ImageError for what is no such name.
    """

    transport: Literal["docker"] = field(default="docker", init=False)

    host: str = DOCKER_HUB
    repository: str
    tag: str = ""
    digest: str = ""

    def __post_init__(self) -> None:
        host = check_host(self.host)
        host = DOCKER_HUB if host in _DOCKER_HUBS else host
        _check_repository(self.repository)
        official = host == DOCKER_HUB and "/" not in self.repository
        repository = _OFFICIAL + self.repository if official else self.repository
        if len(host) + 1 + len(repository) > _LONGEST_NAME:
            raise ImageError(f"its name is of {len(host) + 1 + len(repository)} characters, and {_LONGEST_NAME} are the most")
        if self.digest:
            check_digest(self.digest)
        tag = self.tag or ("" if self.digest else _DEFAULT_TAG)
        if tag:
            _check_tag(tag)
        for name, value in (("host", host), ("repository", repository), ("tag", tag)):
            object.__setattr__(self, name, value)

    @property
    def name(self) -> str:
        """Host and repository."""
        return f"{self.host}/{self.repository}"

    @property
    def full_name(self) -> str:
        """The canonical text where nothing else than an image of a registry can stand."""
        return self.name + self._version()

    def __str__(self) -> str:
        # A registry may be called `build:5000`, which would be read as the folder 5000/… to build from.
        transport = "docker://" if self.host.partition(":")[0] in TRANSPORT_WORDS else ""
        return transport + self.full_name

    def familiar(self) -> str:
        """The short text that users write, which is read back as the same reference."""
        if self.host != DOCKER_HUB:
            return str(self)
        official = self.repository.removeprefix(_OFFICIAL)
        short = self.repository if "/" in official else official
        first, slash, _ = short.partition("/")
        is_something_else = _is_host(first) if slash else first in TRANSPORT_WORDS
        return str(self) if is_something_else else short + self._version()

    def _version(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def parse_registry_reference(text: str) -> RegistryReference:
    """The reference that `text` is, as `[HOST[:PORT]/]REPOSITORY[:TAG][@DIGEST]`. Raises ImageError."""
    if _IMAGE_ID.fullmatch(text):
        raise ImageError("this is the id of an image, which no registry knows", hint=f"write NAME@sha256:{text}")
    name, at, digest = text.partition("@")
    first, slash, rest = name.partition("/")
    has_host = bool(slash) and _is_host(first)
    repository, colon, tag = (rest if has_host else name).partition(":")
    if colon and not tag:
        raise ImageError("its tag is empty", hint="write a tag after the colon, or leave the colon out")
    if at and not digest:
        raise ImageError("its digest is empty", hint="write sha256:… after the @, or leave the @ out")
    return RegistryReference(host=first if has_host else DOCKER_HUB, repository=repository, tag=tag, digest=digest)


def check_host(text: str) -> str:
    """`text` in lower case, when it is a host name or address with or without a port. Raises ImageError."""
    host = text.lower()
    brackets = _BRACKETS.fullmatch(host)
    if brackets is not None:
        _check_ipv6(brackets[1])
        port = brackets[2]
    else:
        name, colon, after = host.partition(":")
        _check_host_name(name, host)
        port = after if colon else None
    if port is not None and not (_PORT.fullmatch(port) and int(port) < 1 << 16):
        raise ImageError(f"port {port!r} of host {text!r} is none", hint="write HOST:PORT, with a port from 1 to 65535")
    return host


def _is_host(first: str) -> bool:
    return "." in first or ":" in first or first.lower() == "localhost"


def _check_host_name(name: str, host: str) -> None:
    if name.startswith("["):
        raise ImageError(f"host {host!r} is no IPv6 address in brackets", hint="write it as [2001:db8::1]:5000, with no zone")
    for word in name.split("."):
        if not _HOST_WORD.fullmatch(word):
            strange = re.search(r"[^a-z0-9-]", word)
            fault = f"has {strange[0]!r}" if strange else "is empty, or begins or ends with '-'"
            raise ImageError(
                f"host {name!r} is no host name: its part {word!r} {fault}",
                hint="write it as example.com, 192.0.2.1 or [2001:db8::1], with or without :PORT",
            )


def _check_ipv6(address: str) -> None:
    try:
        ipaddress.IPv6Address(address)
    except ValueError as error:
        raise ImageError(f"host [{address}] is no IPv6 address: {error}", hint="write it as [2001:db8::1]:5000") from None


def _check_repository(repository: str) -> None:
    if not repository:
        raise ImageError("it names no repository", hint="write it as alpine:3.20 or ghcr.io/owner/name:1.0")
    for component in repository.split("/"):
        if not _COMPONENT.fullmatch(component):
            raise _fault_in(component, repository)


def _fault_in(component: str, repository: str) -> ImageError:
    where = f"component {component!r} of repository {repository!r}"
    if not component:
        return ImageError(f"repository {repository!r} has an empty component", hint="it begins and ends with no /, and has no //")
    if component.lower() != component:
        upper = next(letter for letter in component if letter.lower() != letter)
        return ImageError(f"{where} has the upper-case {upper!r}", hint=f"repositories are lower case: {repository.lower()}")
    strange = re.search(r"[^a-z0-9._-]", component)
    if strange:
        return ImageError(f"{where} has {strange[0]!r}", hint="it may have a-z, 0-9, and between them '.', '_', '__' or dashes")
    if not (component[0].isalnum() and component[-1].isalnum()):
        end, character = ("begins", component[0]) if not component[0].isalnum() else ("ends", component[-1])
        return ImageError(f"{where} {end} with {character!r}", hint="it begins and ends with one of a-z, 0-9")
    # Of the characters that may be there, what is left is more than one separator in a row.
    run = next(run for run in re.findall(r"[._-]{2,}", component) if not re.fullmatch(r"__|-+", run))
    return ImageError(f"{where} has {run!r}", hint="between letters and digits goes one '.', '_', '__' or any number of dashes")


def _check_tag(tag: str) -> None:
    if _TAG.fullmatch(tag):
        return
    strange = re.search(r"[^A-Za-z0-9_.-]", tag)
    fault = f"has {strange[0]!r}" if strange else f"is of {len(tag)} characters" if len(tag) > 128 else f"begins with {tag[0]!r}"
    raise ImageError(
        f"tag {tag!r:.200} {fault}", hint="a tag is of up to 128 letters, digits, '_', '.' and '-'; no '.' or '-' first"
    )
