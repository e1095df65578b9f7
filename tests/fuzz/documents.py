"""Manifests, indexes and configurations: each is a value, which is read back from its own bytes, or an ImageError."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Protocol

from fuzz.mutation import chance, damaged_json

from lxsandbox.images.config import parse_config
from lxsandbox.images.documents import INDEX_TYPES, LAYER_TYPE, MANIFEST_TYPES, parse_manifest

__all__ = ["Documents", "config", "manifest"]

_DIGEST = "sha256:" + "0123456789abcdef" * 4


class _Document(Protocol):
    def as_bytes(self) -> bytes: ...


class Documents:
    """Documents of each kind, with some of their values exchanged."""

    name = "documents"

    def make(self, random: Random) -> tuple[str, bytes]:
        """The kind of a document, and the document."""
        kind, make = random.choice(_MAKERS)
        return kind, damaged_json(random, make(random))

    def attempt(self, made: tuple[str, bytes]) -> bool:
        kind, data = made
        parse = parse_config if kind == "config" else parse_manifest
        parsed: _Document = parse(data)
        again: _Document = parse(parsed.as_bytes())
        assert again == parsed, f"it is read back as another one: {again!r:.2000}"
        assert again.as_bytes() == parsed.as_bytes()
        return True


def _descriptor(random: Random, media_type: str) -> dict[str, Any]:
    made: dict[str, Any] = {"mediaType": media_type, "digest": _DIGEST, "size": random.choice((0, 7, 1 << 30, 1 << 40))}
    if chance(random, 0.4):
        made["annotations"] = {"org.opencontainers.image.ref.name": "1.0", "a": ""}
    if chance(random, 0.4):
        made["platform"] = {"os": "linux", "architecture": "arm64", "variant": random.choice(("v8", ""))}
    return made


def manifest(random: Random) -> dict[str, Any]:
    """One that is right."""
    made: dict[str, Any] = {"schemaVersion": 2, "mediaType": random.choice(MANIFEST_TYPES)}
    made["config"] = _descriptor(random, "application/vnd.oci.image.config.v1+json")
    made["layers"] = [_descriptor(random, f"{LAYER_TYPE}+gzip") for _ in range(random.randrange(4))]
    return _annotated(random, made)


def _index(random: Random) -> dict[str, Any]:
    made: dict[str, Any] = {"schemaVersion": 2, "mediaType": random.choice(INDEX_TYPES)}
    made["manifests"] = [_descriptor(random, random.choice(MANIFEST_TYPES)) for _ in range(random.randrange(4))]
    return _annotated(random, made)


def _annotated(random: Random, made: dict[str, Any]) -> dict[str, Any]:
    if chance(random, 0.3):
        made["annotations"] = {"org.opencontainers.image.created": "2024-01-01T00:00:00Z", "é": "ü"}
    if chance(random, 0.2):
        del made["mediaType"]
    return made


def config(random: Random) -> dict[str, Any]:
    """One with everything that there can be, or parts of it."""
    settings: dict[str, Any] = {
        "Env": ["PATH=/usr/bin", "A=", "A=b=c"],
        "Entrypoint": ["/entry", "é"],
        "Cmd": ["a", ""],
        "User": random.choice(("", "0", "www-data", "1000:1000", "user:group")),
        "WorkingDir": random.choice(("/", "/srv", "")),
        "ExposedPorts": {"80/tcp": {}, "53/udp": {}, "443": {}},
        "Volumes": {"/data": {}, "/var/lib/../x": {}, "/b/": {}},
        "Healthcheck": {
            "Test": random.choice((["CMD", "true"], ["CMD-SHELL", "exit 0"], ["NONE"], [])),
            "Interval": random.choice((0, 1, 999_999_999, 30_000_000_000, 1 << 53)),
            "Timeout": 3_333_333_333,
            "StartPeriod": 1,
            "Retries": random.choice((0, 3, 1 << 31)),
        },
        "StopSignal": random.choice(("SIGTERM", "term", "9", "SIGRTMIN+3", "RTMAX-1")),
        "Shell": ["/bin/bash", "-c"],
        "Labels": {"a": "b", "é": ""},
    }
    return {
        "created": random.choice(("2024-01-01T00:00:00Z", "2024-01-01t00:00:00.123456789+01:00", None)),
        "author": "somebody",
        "os": "linux",
        "architecture": random.choice(("amd64", "arm64")),
        "variant": random.choice(("", "v8")),
        "config": {name: value for name, value in settings.items() if chance(random, 0.7)},
        "rootfs": {"type": "layers", "diff_ids": [_DIGEST] * random.randrange(3)},
        "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "RUN x", "comment": "c", "empty_layer": True}, {}],
    }


_MAKERS: tuple[tuple[str, Callable[[Random], dict[str, Any]]], ...] = (
    ("manifest", manifest),
    ("index", _index),
    ("config", config),
    ("config", config),
)
