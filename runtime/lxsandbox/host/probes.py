"""Ask a short-lived child what this host can do, and say of each lack what follows from it and what to do.

The calling process may be threaded and holds the user's work, so nothing is tried in it: the child is a fresh interpreter
(see `child.py`), bounded in time, and all that it makes on disk is in one folder that is removed here.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterable, Mapping
from pathlib import Path
from typing import Any

from lxsandbox.errors import SpecError
from lxsandbox.host.capability import NAMES, Capability
from lxsandbox.host.fixes import consequence_of, fix_of

__all__ = ["probe"]

# Each attempt has 5 seconds and they run side by side (child.py); the rest is the start of the interpreter on a busy machine.
_CHILD_SECONDS = 10
_SOURCE_ROOT = str(Path(__file__).resolve().parents[2])
_START = "import sys; sys.path.append(sys.argv[1]); from lxsandbox.host.child import main; main(sys.argv[2:])"


def probe(names: Iterable[str] | None = None) -> list[Capability]:
    """Prove the capabilities `names` (all, by default) of this host by doing what each one stands for.

    Takes well under a second, and never longer than ten. Raises SpecError for a name that is in none of NAMES.
    """
    wanted = NAMES if names is None else tuple(names)
    unknown = sorted(set(wanted) - set(NAMES))
    if unknown:
        raise SpecError(f"no such capability: {', '.join(unknown)}", hint=f"the names are {', '.join(NAMES)}")
    with _scratch_folder() as scratch:
        found, trouble = _ask_child(wanted, scratch)
    return [_capability(name, found.get(name) or {"cause": "no-answer", "detail": trouble}) for name in wanted]


@contextlib.contextmanager
def _scratch_folder() -> Generator[str]:
    # file-hierarchy(7): /var/tmp is on a disk, where /tmp is often a tmpfs; overlays are tried on both.
    parent = "/var/tmp" if os.access("/var/tmp", os.W_OK | os.X_OK) else None
    with tempfile.TemporaryDirectory(prefix="lxsandbox-probe-", dir=parent, ignore_cleanup_errors=True) as scratch:
        yield scratch


def _ask_child(names: tuple[str, ...], scratch: str) -> tuple[dict[str, dict[str, Any]], str]:
    """What the child found, by capability, and what is to say of those that it did not answer for."""
    command = [sys.executable, "-I", "-S", "-c", _START, _SOURCE_ROOT, scratch, *names]
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    trouble = f"no answer within {_CHILD_SECONDS} s"
    try:
        output, complaints = child.communicate(timeout=_CHILD_SECONDS)
        trouble = complaints.strip().rpartition("\n")[2] or f"the probe ended with status {child.returncode}"
    except subprocess.TimeoutExpired:
        _kill_session(child)
        output, _ = child.communicate()
    return _read_answers(output), trouble


def _kill_session(child: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)


def _read_answers(output: str) -> dict[str, dict[str, Any]]:
    """The child writes a JSON object a line, each with the answers of one attempt; a last line may be cut short."""
    found: dict[str, dict[str, Any]] = {}
    for line in output.splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            found.update(json.loads(line))
    return found


def _capability(name: str, answer: Mapping[str, Any]) -> Capability:
    cause, detail = answer.get("cause", ""), answer["detail"]
    if not cause:
        return Capability(name=name, ok=True, detail=detail)
    fix = answer.get("fix") or fix_of(name, cause)
    return Capability(name=name, ok=False, detail=detail, consequence=consequence_of(name, cause), fix=fix)
