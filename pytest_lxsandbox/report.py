"""What the report of one test says of its sandboxes: a section for each when it failed, and its peaks for junit."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from lxsandbox.errors import SandboxError
from lxsandbox.spec import SandboxSpec
from lxsandbox.units import format_size
from pytest_lxsandbox.keys import made_for
from pytest_lxsandbox.network_report import known_ports, network_sections, reach_lines
from pytest_lxsandbox.session import tell_death

if TYPE_CHECKING:
    import pytest

    from lxsandbox.errors import Death
    from lxsandbox.sandbox.sandbox import Sandbox
    from lxsandbox.sandbox.stats import Stats

__all__ = ["add_properties", "add_sections"]

_LOG_LINES = 50
_SIZES = frozenset({"memory", "swap", "io", "disk"})


def add_sections(report: pytest.TestReport, item: pytest.Item) -> None:
    """Sections `sandbox NAME`: what it was to be, how it is or why it died, where it is reached, what it used, printed last.

    Then sections `network NAME`: see `network_report`.
    """
    sandboxes = [*made_for(item), *_shared_with(item)]
    ports = known_ports(item.config) if sandboxes else {}
    for sandbox in sandboxes:
        death = tell_death(sandbox, item)
        lines = _lines(sandbox, death, reach_lines(sandbox, ports.get(sandbox.id, {})))
        report.sections.append((f"sandbox {sandbox.name}", "\n".join(lines)))
    report.sections += network_sections(item.config, sandboxes)


def add_properties(item: pytest.Item) -> None:
    """The peak of memory over the test's own sandboxes, and the sums of their processor and start times."""
    own = made_for(item)
    known = [sandbox.final_stats for sandbox in own if sandbox.final_stats is not None]
    peaks = [stats.memory_peak_bytes for stats in known if stats.memory_peak_bytes is not None]
    seconds = [stats.cpu_seconds for stats in known if stats.cpu_seconds is not None]
    if peaks:
        item.user_properties.append(("sandbox_memory_peak_bytes", max(peaks)))
    if seconds:
        item.user_properties.append(("sandbox_cpu_seconds", round(sum(seconds), 6)))
    if own:
        item.user_properties.append(("sandbox_start_ms", round(sum(sandbox.start_seconds for sandbox in own) * 1000, 3)))


def _shared_with(item: pytest.Item) -> list[Sandbox]:
    """What there is for the session, where this test uses `sandbox_factory`, be it through other fixtures."""
    uses_it = "sandbox_factory" in vars(item).get("fixturenames", ())
    return made_for(item.session) if uses_it else []


def _lines(sandbox: Sandbox, death: Death | None, reach: list[str]) -> list[str]:
    state = _alive(sandbox) if death is None else f"died, {death}"
    lines = [f"spec: {_described(sandbox.spec)}", f"state: {state}", *reach]
    if (stats := _stats(sandbox)) is not None:
        lines.append(f"used: {_used(stats)}")
    if log := _log(sandbox, death):
        lines += ["last log lines:", *log.splitlines()[-_LOG_LINES:]]
    return lines


def _alive(sandbox: Sandbox) -> str:
    try:
        restarts = sandbox.restarts
    except SandboxError:
        restarts = 0
    return f"{sandbox.state}, its main command was restarted {restarts} times" if restarts else sandbox.state


def _stats(sandbox: Sandbox) -> Stats | None:
    try:
        return sandbox.stats()
    except SandboxError:
        return sandbox.final_stats


def _log(sandbox: Sandbox, death: Death | None) -> str:
    if death is not None:
        return death.log_tail
    try:
        return sandbox.logs()
    except SandboxError:
        return ""


def _described(spec: SandboxSpec) -> str:
    """The image, and every field that is not as the class has it."""
    usual = SandboxSpec()
    given = {f.name: getattr(spec, f.name) for f in fields(spec) if getattr(spec, f.name) != getattr(usual, f.name)}
    return ", ".join(f"{name}={_shown(name, value)}" for name, value in ({"image": spec.image} | given).items())


def _shown(name: str, value: Any) -> str:
    return format_size(value) if name in _SIZES and isinstance(value, int) else repr(value)


def _used(stats: Stats) -> str:
    facts = {
        "memory": _size(stats.memory_bytes),
        "memory peak": _size(stats.memory_peak_bytes),
        "cpu": None if stats.cpu_seconds is None else f"{stats.cpu_seconds:.3f} s",
        "pids": stats.pids,
        "pids peak": stats.pids_peak,
        "oom kills": stats.oom_kills,
    }
    return ", ".join(f"{name} {fact}" for name, fact in facts.items() if fact is not None) or "not counted on this host"


def _size(count: int | None) -> str | None:
    return None if count is None else format_size(count)
