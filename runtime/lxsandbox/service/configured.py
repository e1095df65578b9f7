"""What an image's configuration makes of a spec that leaves things open. Pure."""

from __future__ import annotations

import signal
from dataclasses import replace
from typing import TYPE_CHECKING

from lxsandbox.errors import SpecError
from lxsandbox.restarts import RestartPolicy
from lxsandbox.spec import SandboxSpec

if TYPE_CHECKING:
    from lxsandbox.images.config import ImageConfig

__all__ = ["check_restart", "configured", "runs_own_command", "stop_signal"]


def configured(spec: SandboxSpec, config: ImageConfig | None) -> SandboxSpec:
    """The spec with what the image has for what it leaves open.

    As container tools do it: the image's Cmd goes with its Entrypoint alone, and is dropped with it; what `env` or `labels` name
    replaces what the image has under that name.
    """
    if config is None:
        return spec
    command = spec.command if spec.command is not None or spec.entrypoint is not None else config.command or None
    return replace(
        spec,
        entrypoint=spec.entrypoint if spec.entrypoint is not None else config.entrypoint or None,
        command=command,
        env={**config.env, **spec.env},
        labels={**config.labels, **spec.labels},
        cwd=spec.cwd if spec.cwd is not None else config.working_dir or None,
        user=spec.user if spec.user is not None else config.user or None,
    )


def check_restart(spec: SandboxSpec) -> None:
    """Raises SpecError where there is a policy for starting again what there is not. `spec` is configured already."""
    if RestartPolicy.parse(spec.restart) and not spec.entrypoint and not spec.command:
        raise SpecError(
            f"restart={spec.restart!r} has nothing to start again: neither the spec nor the image has a command",
            hint='give a command, such as command=["sleep", "infinity"]',
        )


def runs_own_command(spec: SandboxSpec, config: ImageConfig | None) -> bool:
    """Whether the main command of such a sandbox is the image's, so that nobody asked for it by name."""
    return config is not None and spec.command is None and spec.entrypoint is None


def stop_signal(config: ImageConfig | None) -> int | None:
    """The number of the signal by which the image wants to be stopped; None where it has no wish."""
    if config is None or not config.stop_signal:
        return None
    name = config.stop_signal.upper().removeprefix("SIG")
    if name.isdecimal():
        return int(name)
    for first, step in (("RTMIN+", 1), ("RTMAX-", -1)):  # the real-time signals have no names of their own
        if name.startswith(first):
            return signal.Signals[f"SIG{first[:-1]}"] + step * int(name.removeprefix(first))
    return signal.Signals[f"SIG{name}"]
