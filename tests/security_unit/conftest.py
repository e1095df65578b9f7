"""Filters compiled once for this folder, in a cache folder of their own, and programs that try them on the real kernel."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from lxsandbox.security import seccomp
from lxsandbox.security.capabilities import resolve

_CONFINED = str(Path(__file__).with_name("confined.py"))


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def compiled() -> Callable[..., bytes]:
    """The default filter for a sandbox with these changes to its capabilities."""

    def compiled(*changes: str, nesting: bool = False) -> bytes:
        return seccomp.compile_filter("default", nesting=nesting, capabilities=resolve(changes, nesting=nesting))

    return compiled


class Confined:
    """Tries things in a new process that has only this filter between it and the kernel."""

    def __init__(self, program: bytes, folder: Path) -> None:
        self._filter = folder / "filter.bpf"
        self._filter.write_bytes(program)

    def errnos(self, *attempts: Sequence[object]) -> list[int]:
        """What each attempt fails with in the one process that makes them all; 0 where it worked."""
        done = self._start("try", text=json.dumps(attempts))
        assert done.returncode == 0, (done.returncode, done.stderr)
        return [int(number) for number in json.loads(done.stdout)]

    def survives(self, *attempts: Sequence[object]) -> bool:
        return self._start("try", text=json.dumps(attempts)).returncode == 0

    def output(self, *args: str) -> str:
        done = self._start("run", *args)
        assert done.returncode == 0, (done.returncode, done.stderr)
        return done.stdout

    def _start(self, *args: str, text: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-I", "-S", _CONFINED, str(self._filter), *args]
        return subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def confined(tmp_path: Path) -> Callable[[bytes], Confined]:
    return lambda program: Confined(program, tmp_path)
