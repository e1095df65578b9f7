"""What others do in place of a sandbox: each a contestant that runs `true`, or the reason why it cannot here."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from timing import Contestant

__all__ = ["BWRAP", "HOST", "Peers", "find_peers"]

HOST = "host true"
BWRAP = "bwrap"
_RUNC = "runc run"
_DOCKER = "docker run --rm"
_BWRAP_COMMAND = ("bwrap", "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "true")
_DOCKER_IMAGE = "busybox"


@dataclass(frozen=True, slots=True)
class Peers:
    """Those that work here, and a reason for each that does not."""

    present: list[Contestant] = field(default_factory=list[Contestant])
    absent: list[str] = field(default_factory=list[str])

    def add(self, name: str, command: Sequence[str], *, numbered: bool = False) -> None:
        """Try the command; `numbered` adds a number to it, another one each time."""
        numbers = count()

        def once() -> None:
            _run([*command, f"bench-{os.getpid()}-{next(numbers)}"] if numbered else command)

        try:
            once()
        except FileNotFoundError:
            self.absent.append(f"{name} (not installed)")
        except subprocess.CalledProcessError as error:
            said = (error.stderr or "").strip().splitlines() or [f"exit status {error.returncode}"]
            self.absent.append(f"{name} ({said[-1][:200]})")
        else:
            self.present.append(Contestant(name=name, once=once))


def find_peers(folder: Path) -> Peers:
    """All that work here; `folder` is for what they need on disk."""
    peers = Peers()
    peers.add(HOST, ["true"])
    peers.add(BWRAP, _BWRAP_COMMAND)
    _add_runc(peers, folder)
    _add_docker(peers)
    return peers


def _add_runc(peers: Peers, folder: Path) -> None:
    busybox = shutil.which("busybox")
    if shutil.which("runc") is None or busybox is None:
        peers.absent.append(f"{_RUNC} (runc or busybox is not installed)")
        return
    bundle = folder / "bundle"
    programs = bundle / "rootfs" / "bin"
    programs.mkdir(parents=True)
    shutil.copy2(busybox, programs / "busybox")
    (programs / "true").symlink_to("busybox")
    _run(["runc", "spec", *(["--rootless"] if os.geteuid() else [])], cwd=bundle)
    config = json.loads((bundle / "config.json").read_text())
    config["process"] |= {"args": ["true"], "terminal": False}
    (bundle / "config.json").write_text(json.dumps(config))
    peers.add(_RUNC, ["runc", "--root", str(folder / "runc"), "run", "--bundle", str(bundle)], numbered=True)


def _add_docker(peers: Peers) -> None:
    present = shutil.which("docker") is not None
    if present and subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        peers.absent.append(f"{_DOCKER} (no daemon answers)")
    else:
        peers.add(_DOCKER, ["docker", "run", "--rm", "--pull=missing", _DOCKER_IMAGE, "true"])


def _run(command: Sequence[str], *, cwd: Path | None = None) -> None:
    """As a test would run a program whose output it wants to see when it fails."""
    subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
