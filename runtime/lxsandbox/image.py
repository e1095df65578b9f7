"""What users hold of an image: by which text a sandbox is made over it, and what it says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

__all__ = ["Healthcheck", "Image"]

_NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Healthcheck:
    """How to see that a container is healthy. The defaults are those of Docker's HEALTHCHECK.

    `test` is `("CMD", argument, …)`, `("CMD-SHELL", command)` or `("NONE",)`, which forbids what a base image asked for.
    During `start_period_seconds` failures do not count; `retries` of them in a row, later, do.
    """

    test: tuple[str, ...]
    interval_seconds: float = 30.0
    timeout_seconds: float = 30.0
    start_period_seconds: float = 0.0
    start_interval_seconds: float = 5.0
    retries: int = 3

    def as_json(self) -> dict[str, Any]:
        """As Docker's image specification has it."""
        return {
            "Test": list(self.test),
            "Interval": round(self.interval_seconds * _NANOSECONDS),
            "Timeout": round(self.timeout_seconds * _NANOSECONDS),
            "StartPeriod": round(self.start_period_seconds * _NANOSECONDS),
            "StartInterval": round(self.start_interval_seconds * _NANOSECONDS),
            "Retries": self.retries,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Image:
    """An image that is there, to the last byte; `Sandbox(image=…)` takes it as it takes a reference.

    `reference`: the text that names it. `digest`: of its manifest, `sha256:…`; empty for `host`, which is none that can be
    named so. The rest is what it says of how it is to be run, each empty or None where it says nothing: `entrypoint`, `command`,
    `env`, `user`, `cwd`, `volumes` (paths), `ports` that its server listens on (`5432/tcp`), `healthcheck`, `stop_signal`
    (`SIGINT`), `labels`.
    """

    reference: str
    digest: str = ""
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    user: str = ""
    cwd: str = ""
    volumes: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    healthcheck: Healthcheck | None = None
    stop_signal: str = ""
    labels: Mapping[str, str] = field(default_factory=dict[str, str])

    def __str__(self) -> str:
        return self.reference

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Image:
        """What `dataclasses.asdict` of one has become on its way through JSON."""
        given: dict[str, Any] = {name: _tuple(value) for name, value in data.items()}
        if data["healthcheck"] is not None:
            given["healthcheck"] = Healthcheck(**{name: _tuple(value) for name, value in data["healthcheck"].items()})
        return cls(**given)


def _tuple(value: Any) -> Any:
    return tuple(cast("list[str]", value)) if isinstance(value, list) else value
