"""An image's configuration: what it runs, as whom, where, and what its layers are.

Source: image-spec v1.1, config.md, and of Docker's image specification v1.3 (which has what its v1.2 had) Healthcheck and Shell,
which images made by Docker and Podman have. Checked in `config_fields`; what neither specification knows is left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lxsandbox.image import Healthcheck, Image
from lxsandbox.images import config_fields as fields
from lxsandbox.images.documents import Platform, as_object, load_object

__all__ = ["BASE_LABEL", "EPOCH", "HistoryEntry", "ImageConfig", "parse_config"]

BASE_LABEL = "org.lxsandbox.base"  # a label, since every tool keeps it when it copies an image; of other bases nothing is said
EPOCH = "1970-01-01T00:00:00Z"  # when an image was made, unless somebody says: equal images are equal bytes then


@dataclass(frozen=True, kw_only=True, slots=True)
class HistoryEntry:
    """One step by which the image came to be; `empty_layer` when it made no layer."""

    created: str = EPOCH
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False

    def as_json(self) -> dict[str, Any]:
        data = {"created_by": self.created_by, "author": self.author, "comment": self.comment, "empty_layer": self.empty_layer}
        return {"created": self.created, **_given(data)}


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageConfig:
    """The configuration; what is empty was not given. `diff_ids` are the digests of the uncompressed layers, lowest first.

    `exposed_ports` are of the form `80/tcp`; `user` is `user`, `uid`, `user:group` and so on; paths are absolute.
    """

    platform: Platform
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    user: str = ""
    working_dir: str = ""
    exposed_ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    healthcheck: Healthcheck | None = None
    stop_signal: str = ""
    shell: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    diff_ids: tuple[str, ...] = ()
    history: tuple[HistoryEntry, ...] = ()
    created: str = EPOCH
    author: str = ""

    @property
    def over_host(self) -> bool:
        """Whether its layers lie over the files of the host that it runs on."""
        return self.labels.get(BASE_LABEL) == "host"

    def as_bytes(self) -> bytes:
        """The document itself; equal values give equal bytes, and so one digest."""
        data = {
            "created": self.created,
            **_given({"author": self.author}),
            **self.platform.as_json(),
            "config": self._run_settings(),
            "rootfs": {"type": "layers", "diff_ids": list(self.diff_ids)},
            "history": [entry.as_json() for entry in self.history],
        }
        return json.dumps(data, separators=(",", ":"), ensure_ascii=False, sort_keys=True).encode()

    def whole_history(self) -> tuple[HistoryEntry, ...]:
        """The history with an entry for each layer: it may tell of fewer, and what comes after would be taken for theirs."""
        told = sum(not entry.empty_layer for entry in self.history)
        return (*self.history, *[HistoryEntry()] * (len(self.diff_ids) - told))

    def described(self, reference: str, digest: str) -> Image:
        """What users are shown of it: the image is called `reference`, and its manifest has that digest."""
        return Image(
            reference=reference,
            digest=digest,
            entrypoint=self.entrypoint,
            command=self.command,
            env=dict(self.env),
            user=self.user,
            cwd=self.working_dir,
            volumes=self.volumes,
            ports=self.exposed_ports,
            healthcheck=self.healthcheck,
            stop_signal=self.stop_signal,
            labels=dict(self.labels),
        )

    def _run_settings(self) -> dict[str, Any]:
        return _given(
            {
                "Env": [f"{name}={value}" for name, value in sorted(self.env.items())],
                "Entrypoint": list(self.entrypoint),
                "Cmd": list(self.command),
                "User": self.user,
                "WorkingDir": self.working_dir,
                "ExposedPorts": {port: {} for port in self.exposed_ports},
                "Volumes": {path: {} for path in self.volumes},
                "Healthcheck": self.healthcheck and self.healthcheck.as_json(),
                "StopSignal": self.stop_signal,
                "Shell": list(self.shell),
                "Labels": dict(self.labels),
            }
        )


def parse_config(data: bytes, *, what: str = "config") -> ImageConfig:
    """The configuration that `data` is. Raises ImageError, naming `what` and the field that makes no sense."""
    given = load_object(data, what)
    settings = _object(given.get("config"), f"{what}: config")
    rootfs = as_object(given.get("rootfs"), f"{what}: rootfs")
    return ImageConfig(
        platform=fields.platform(given, what),
        env=fields.env(settings.get("Env"), f"{what}: Env"),
        entrypoint=fields.texts(settings.get("Entrypoint"), f"{what}: Entrypoint"),
        command=fields.texts(settings.get("Cmd"), f"{what}: Cmd"),
        user=fields.user(settings.get("User"), f"{what}: User"),
        working_dir=fields.absolute_path(settings.get("WorkingDir"), f"{what}: WorkingDir"),
        exposed_ports=fields.ports(settings.get("ExposedPorts"), f"{what}: ExposedPorts"),
        volumes=fields.volumes(settings.get("Volumes"), f"{what}: Volumes"),
        healthcheck=_healthcheck(settings.get("Healthcheck"), f"{what}: Healthcheck"),
        stop_signal=fields.stop_signal(settings.get("StopSignal"), f"{what}: StopSignal"),
        shell=fields.texts(settings.get("Shell"), f"{what}: Shell"),
        labels=fields.labels(settings.get("Labels"), f"{what}: Labels"),
        diff_ids=fields.diff_ids(rootfs, f"{what}: rootfs"),
        history=_history(given.get("history"), f"{what}: history"),
        created=fields.time(given.get("created"), f"{what}: created") or EPOCH,
        author=fields.text(given.get("author"), f"{what}: author"),
    )


def _healthcheck(data: object, what: str) -> Healthcheck | None:
    given = _object(data, what)
    test = fields.health_test(given.get("Test"), f"{what}: Test")
    if not test:
        return None  # it inherits the base image's, and the base image's would be here
    return Healthcheck(
        test=test,
        interval_seconds=fields.seconds(given.get("Interval"), f"{what}: Interval") or 30.0,
        timeout_seconds=fields.seconds(given.get("Timeout"), f"{what}: Timeout") or 30.0,
        start_period_seconds=fields.seconds(given.get("StartPeriod"), f"{what}: StartPeriod"),
        start_interval_seconds=fields.seconds(given.get("StartInterval"), f"{what}: StartInterval") or 5.0,
        retries=fields.count(given.get("Retries"), f"{what}: Retries") or 3,
    )


def _history(data: object, what: str) -> tuple[HistoryEntry, ...]:
    return tuple(_history_entry(each, f"{what}: entry {n}") for n, each in enumerate(fields.items(data, what)))


def _history_entry(data: object, what: str) -> HistoryEntry:
    given = as_object(data, what)
    return HistoryEntry(
        created=fields.time(given.get("created"), f"{what}: created") or EPOCH,
        created_by=fields.text(given.get("created_by"), f"{what}: created_by"),
        author=fields.text(given.get("author"), f"{what}: author"),
        comment=fields.text(given.get("comment"), f"{what}: comment"),
        empty_layer=fields.flag(given.get("empty_layer"), f"{what}: empty_layer"),
    )


def _object(data: object, what: str) -> dict[str, Any]:
    return {} if data is None else as_object(data, what)


def _given(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if value}
