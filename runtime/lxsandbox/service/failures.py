"""Why a sandbox did not start, in words: from the step that failed and its errno to whose fault it is and what to do."""

from __future__ import annotations

import errno
import os
from typing import Any

from lxsandbox import errors
from lxsandbox.errors import HostUnsupported, ImageError, NotReady, SandboxDied, SandboxError, SpecError
from lxsandbox.spec import SandboxSpec

__all__ = ["error_as_json", "explain", "explain_clone"]

_DOCTOR = "`lxsandbox doctor` tells what this host lacks"


def explain(error: dict[str, Any], spec: SandboxSpec) -> SandboxError:
    """The error for what init said before it was ready."""
    if error["kind"] == "StepFailed":
        return _explain_step(error["step"], error["errno"], error["message"], spec)
    if error["kind"] == "OSError":
        return SandboxError(f"the sandbox did not start: {error['message']}", hint=_DOCTOR)
    kind: type[SandboxError] = getattr(errors, error["kind"], SandboxError)
    return kind(error["message"], hint=error.get("hint", ""))


def _explain_step(step: dict[str, Any], number: int, message: str, spec: SandboxSpec) -> SandboxError:
    target = step.get("target") or step.get("path") or "/"
    if number in (errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG):
        ours = step["do"] in ("bind", "copy_file") or target not in ("/proc", "/sys", "/dev", "/tmp", "/run")
        if ours and step["do"] != "mask":
            return SpecError(f"{target} of image {spec.image!r} cannot be mounted on: {os.strerror(number)} ({message})")
        return ImageError(
            f"image {spec.image!r} is refused: its {target} is a link or no folder, and the kernel's own files must lie there",
            hint="make it a plain folder in the image",
        )
    if number == errno.ENOSPC:
        return SandboxError(f"no space for the sandbox's root: {message}", hint="ask for a larger disk=")
    if step["do"] == "sysctl":
        return SpecError(
            f"sysctls={{{step['name']!r}: {step['value']!r}}} is refused by the kernel: {os.strerror(number)}",
            hint="see the name and its values in `sysctl -a`",
        )
    if step["do"] == "overlay":
        return HostUnsupported(
            f"overlayfs in a user namespace does not work here: {message}",
            hint="needs Linux 5.11 with overlayfs; run `modprobe overlay`",
            capability="overlayfs",
        )
    if step["do"] == "mount" and number == errno.EPERM:
        hint = "inside a container, start it with --security-opt systempaths=unconfined (Docker) or unmask=ALL (podman)"
        return HostUnsupported(
            f"a fresh {step['kind']} is refused here (mount too revealing): {message}", hint=hint, capability="proc-mount"
        )
    return SandboxError(f"the sandbox's root could not be made at {target}: {message}", hint=_DOCTOR)


def explain_clone(error: OSError, spec: SandboxSpec) -> SandboxError:
    """The error for what the spawner met when it opened the trees or cloned."""
    text = error.strerror or str(error)
    if "clone3" in text and error.errno in (errno.EPERM, errno.ENOSPC, errno.EUSERS):
        return HostUnsupported(
            f"this host lets you make no user namespace: {text}",
            hint="run `sysctl -w user.max_user_namespaces=15000`",
            capability="user-namespaces",
        )
    if "clone3" in text and error.errno in (errno.EAGAIN, errno.ENOMEM):
        return SandboxError(
            f"the host is out of processes or memory: {text}", hint="run fewer sandboxes at once, or raise `ulimit -u`"
        )
    if "mount_setattr" in text:
        return HostUnsupported(
            f"a folder of image {spec.image!r} or a Bind cannot be shown with shifted owners: {text}",
            hint="keep it on ext4, xfs, btrfs or tmpfs",
            capability="idmapped-mounts",
        )
    if "open_tree" in text and error.errno in (errno.ENOENT, errno.EACCES):
        return SpecError(f"a folder of image {spec.image!r} or a Bind's src cannot be opened: {text}")
    return SandboxError(f"the sandbox was not started: {text}", hint=_DOCTOR)


def error_as_json(error: SandboxError | OSError) -> dict[str, Any]:
    """The error as it travels to a client, which makes the same of it again."""
    if isinstance(error, SandboxDied):
        return {"kind": "SandboxDied", "message": error.message, "name": error.name, "death": error.death.as_json()}
    if isinstance(error, NotReady):
        return {"kind": "NotReady", "message": error.message, **error.as_json()}
    if isinstance(error, SandboxError):
        capability = {"capability": error.capability} if isinstance(error, HostUnsupported) else {}
        # By the nearest kind that clients know: a part of the runtime may have kinds of its own below it.
        kind = next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == SandboxError.__module__)
        return {"kind": kind, "message": error.message, "hint": error.hint, **capability}
    return {"kind": "OSError", "errno": error.errno, "message": error.strerror or str(error), "filename": error.filename}
