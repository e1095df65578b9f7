"""What is installed is what was meant: two packages, one plugin, one command, few public names, little work at import."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import lxsandbox

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PUBLIC = [
    "Bind",
    "Change",
    "Command",
    "File",
    "Healthy",
    "HostUnsupported",
    "Http",
    "Image",
    "ImageError",
    "Log",
    "Network",
    "Port",
    "Process",
    "Sandbox",
    "SandboxDied",
    "SandboxError",
    "SandboxPath",
    "SandboxSpec",
    "Stats",
    "Tmpfs",
]
# What the plugin may not load in a run that asks for no sandbox, nor `import lxsandbox` ever.
HEAVY = {
    "asyncio",
    "click",
    "cloudpickle",
    "ctypes",
    "isal",
    "pyroute2",
    "pyseccomp",
    "rich",
    "subprocess",
    "urllib3",
    "zstandard",
}


def test_the_public_names_are_those_of_the_contract() -> None:
    assert sorted(lxsandbox.__all__) == PUBLIC


def test_every_public_name_resolves_and_is_documented() -> None:
    undocumented = [name for name in lxsandbox.__all__ if not (getattr(lxsandbox, name).__doc__ or "").strip()]
    assert undocumented == []


def test_importing_the_runtime_loads_nothing_heavy() -> None:
    assert _loaded_by("import lxsandbox") & (HEAVY | {"lxsandbox.spec", "lxsandbox.errors", "pytest"}) == set()


def test_the_plugin_and_the_command_are_registered() -> None:
    found = metadata.entry_points(name="lxsandbox")
    assert {(point.group, point.value) for point in found} >= {
        ("pytest11", "pytest_lxsandbox.plugin"),
        ("console_scripts", "lxsandbox.cli:main"),
    }


def test_both_packages_say_that_they_are_typed() -> None:
    files = [str(path) for path in metadata.files("pytest-lxsandbox") or ()]
    typed = {path for path in files if path.endswith("py.typed")}
    assert typed in ({"lxsandbox/py.typed", "pytest_lxsandbox/py.typed"}, set())  # none is listed for an editable install


def test_every_dependency_has_its_reason() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text().partition("\n## Dependencies\n")[2]
    names = {re.split(r"[<>=\[;]", line)[0] for line in PROJECT["dependencies"]}
    assert set(re.findall(r"^\| ([a-z0-9-]+) \|", page, re.MULTILINE)) - {"package"} == names


def test_the_changelog_has_this_version() -> None:
    assert f"## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text()


def test_ci_runs_the_command_of_the_readme() -> None:
    command = "python3 -m venv .venv && .venv/bin/pip install -q tox && .venv/bin/tox"
    assert f"\n{command}\n" in (ROOT / "README.md").read_text()
    assert f"\n{command} -e examples\n" in (ROOT / "README.md").read_text()
    assert (ROOT / ".ci" / "run").read_text().endswith(f"\n{command}\n")


def _loaded_by(statement: str) -> set[str]:
    code = f"import sys; before = set(sys.modules)\n{statement}\nprint(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())
