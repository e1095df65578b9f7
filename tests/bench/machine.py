"""The machine that was measured, named well enough to compare with another."""

from __future__ import annotations

import os
import platform
import subprocess

__all__ = ["describe"]


def describe(*, run_folder: str, cgroups: str, mapping: str, missing: tuple[str, ...]) -> list[tuple[str, str]]:
    """Names and values, in the order in which they are shown."""
    return [
        ("processor", f"{_cpu_model()}, {len(os.sched_getaffinity(0))} cores{_hypervisor()}"),
        ("memory", f"{_total_memory_bytes() / 2**30:.1f} GiB"),
        ("kernel", platform.release()),
        ("cgroups", f"{cgroups}{'; cannot be held here: ' + '; '.join(missing) if missing else ''}"),
        ("user", f"{'root' if os.geteuid() == 0 else 'a plain user'}, ids mapped: {mapping}"),
        ("Python", f"{platform.python_implementation()} {platform.python_version()}"),
        ("run folder", f"{run_folder} on {_file_system(os.path.dirname(run_folder))}"),
        ("bubblewrap", _version(["bwrap", "--version"])),
        ("runc", _version(["runc", "--version"])),
        ("load before", " ".join(f"{value:.2f}" for value in os.getloadavg())),
    ]


def _cpu_model() -> str:
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        models = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    return models[0] if models else platform.machine()


def _hypervisor() -> str:
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        return ", virtual machine" if " hypervisor " in file.read().replace("\n", " ") else ""


def _total_memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _file_system(path: str) -> str:
    # Python has no statfs(2) with f_type; findmnt is in util-linux and so everywhere.
    done = subprocess.run(["findmnt", "-no", "FSTYPE", "--target", path], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "an unknown file system"


def _version(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "not installed"
    return done.stdout.splitlines()[0] if done.stdout else "does not run here"
