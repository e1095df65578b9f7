"""What the README says of caches in CI: that what it names, carried to another machine, is all that an offline run needs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from images_real.conftest import Shelf, place, registry, shelf
from needs import needs

from lxsandbox.defaults import CACHE_DIR, LOCK_NAME

pytestmark = needs("user-namespaces", "overlayfs", "libseccomp", "busybox", "docker-registry")

__all__ = ["place", "registry", "shelf"]

README = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")
GITHUB, GITLAB = re.findall(r"^```yaml\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A fresh machine that CI gives: a home and a checkout. `cached` are the paths that CI carries to the next."""

    home: Path
    project: Path
    cached: tuple[str, ...]
    variables: Mapping[str, str]

    def run(self, command: str) -> None:
        path = f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}"
        env = {**os.environ, "HOME": str(self.home), "PATH": path, **self.variables}
        env.pop("XDG_CACHE_HOME", None)
        done = subprocess.run(["sh", "-c", command], cwd=self.project, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def carried_to(self, other: Machine) -> None:
        for mine, theirs in zip(self.paths(), other.paths(), strict=True):
            theirs.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(mine, theirs) if mine.is_dir() else shutil.copy(mine, theirs)

    def paths(self) -> Iterator[Path]:
        for path in self.cached:
            yield self.home / path.removeprefix("~/") if path.startswith("~/") else self.project / path


def machine(folder: Path, name: str, yaml: str) -> Machine:
    project = folder / name / "project"
    project.mkdir(parents=True)
    given = re.findall(rf"({CACHE_DIR}): \$CI_PROJECT_DIR/(.+)", yaml)
    return Machine(
        home=folder / name,
        project=project,
        cached=tuple(re.findall(r"^[ -]*(\S*\.cache/lxsandbox/\S+)$", yaml, re.MULTILINE)),
        variables={variable: str(project / path) for variable, path in given},
    )


def commands(yaml: str) -> list[str]:
    """What is run, in its order."""
    return re.findall(r"^ *- (?:run: )?((?:install|lxsandbox|pytest) .*)$", yaml, re.MULTILINE)


@pytest.mark.parametrize("yaml", [GITHUB, GITLAB], ids=["GitHub", "GitLab"])
def test_what_ci_carries_over_is_all_that_an_offline_run_needs(
    yaml: str, tmp_path: Path, shelf: Shelf, registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = shelf.push(registry, "team/app", "hello")
    first, second = machine(tmp_path, "first", yaml), machine(tmp_path, "second", yaml)
    first.run(f"lxsandbox image lock {image}")
    (first.project / "test_it.py").write_text(f"def test_it(make_sandbox): make_sandbox({image!r}).path('/text').read_text()")
    for name in (LOCK_NAME, "test_it.py"):
        shutil.copy(first.project / name, second.project)

    for command in commands(yaml):
        first.run(command)
    first.carried_to(second)
    monkeypatch.setenv("LXSANDBOX_REGISTRY_MIRRORS", "no mirror")  # whoever would ask a registry fails
    for command in commands(yaml):
        second.run(command)


@pytest.mark.parametrize("yaml", [GITHUB, GITLAB], ids=["GitHub", "GitLab"])
def test_the_cache_is_another_one_when_the_lock_is(yaml: str) -> None:
    (key,) = re.findall(r"hashFiles\('(.+)'\)|files:\n *- (.+)", yaml)

    assert LOCK_NAME in key
