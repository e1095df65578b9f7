"""A thousand sandboxes alive at once: what each costs in time, memory and descriptors, and in the end to remove."""

from __future__ import annotations

import mmap
import os
import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from lab import Lab
from table import Row, Section, figure_cells
from timing import Figures, milliseconds_of, without_collections

from lxsandbox.sandbox.sandbox import Sandbox

__all__ = ["measure_crowd"]

_PART = 10  # the first tenth against the last
_MEMORY_AT_MOST_MIB = 1.5
_SLOWER_AT_MOST = 1.3
_TOUCHED_BYTES = 3 << 20  # for each, more than one takes
# proc_meminfo(5). Not MemFree or MemAvailable: pages that each processor keeps at hand are in neither of them.
_TAKEN = ("AnonPages:", "Shmem:", "Slab:", "KernelStack:", "PageTables:", "Percpu:")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Held:
    """What is taken on the machine at one moment."""

    used_bytes: int
    client_descriptors: int
    service_descriptors: int

    @classmethod
    def now(cls, lab: Lab) -> _Held:
        return cls(
            used_bytes=sum(_kilobytes_of("/proc/meminfo", label) for label in _TAKEN) * 1024,
            client_descriptors=_descriptors(os.getpid()),
            service_descriptors=_descriptors(lab.connection.hello.pid),
        )


def measure_crowd(lab: Lab, count: int) -> Section:
    """Make so many, count, close them all."""
    _have_memory_ready(count * _TOUCHED_BYTES)
    lab.rest()
    before = _Held.now(lab)
    boxes: list[Sandbox] = []
    with ExitStack() as stack, without_collections():
        started = [milliseconds_of(lambda: boxes.append(stack.enter_context(lab.usual()))) for _ in range(count)]
        lab.rest()
        held = _Held.now(lab)
        pss_bytes = sum(_kilobytes_of(f"/proc/{box.pid}/smaps_rollup", "Pss:") for box in boxes) * 1024
        answered = [milliseconds_of(partial(box.run, ["true"], check=True)) for box in boxes]
        closed = [milliseconds_of(box.close) for box in reversed(boxes)]
        settled_ms = milliseconds_of(lambda: lab.connection.request("settle"))
    labels = ", ".join(f"`{label[:-1]}`" for label in _TAKEN)
    about = (
        f"{count} made in a row, each kept; `true` run in each; all closed. "
        f"Memory is what {labels} of the machine grew by; {pss_bytes / count / 2**20:.2f} MiB of "
        f"each is the share (`Pss`) of its init, the rest the kernel's, the service's and the client's. Descriptors of each: "
        f"{(held.client_descriptors - before.client_descriptors) / count:.1f} in the client, "
        f"{(held.service_descriptors - before.service_descriptors) / count:.1f} in the service. "
        f"The ratio of the last {count // _PART} to the first is of the time for all of them. "
        f"After the last was closed, {settled_ms:.0f} ms passed until all groups had gone too."
    )
    mib = (held.used_bytes - before.used_bytes) / count / 2**20
    return Section(title=f"{count} at once", about=about, rows=[*_time_rows(started, answered, closed), _memory_row(mib)])


def _have_memory_ready(size: int) -> None:
    """Touch that much memory and free it: a hypervisor takes free memory back, and a page of it then takes long to come."""
    with mmap.mmap(-1, size) as area:
        for page in range(0, size, mmap.PAGESIZE):
            area[page] = 1


def _time_rows(started: Sequence[float], answered: Sequence[float], closed: Sequence[float]) -> list[Row]:
    part = max(1, len(started) // _PART)
    first, last = started[:part], started[-part:]
    # Of all hundred together: some come from the pool and most do not, and a median falls on either side.
    ratio = statistics.fmean(last) / statistics.fmean(first)
    slower = [*figure_cells(Figures.of(last)), f"first {part}", f"{ratio:.2f}"]
    return [
        _plain(f"start, first {part}", first),
        Row(name=f"start, last {part}", cells=slower, target=f"≤ {_SLOWER_AT_MOST} of first", met=ratio <= _SLOWER_AT_MOST),
        _plain("run `true`, all alive", answered),
        _plain("kill and reap", closed),
    ]


def _plain(name: str, samples_ms: Sequence[float]) -> Row:
    return Row(name=name, cells=[*figure_cells(Figures.of(samples_ms)), "", ""])


def _memory_row(mib: float) -> Row:
    cells = ["", f"{mib:.2f}", "", "", "", ""]
    target = f"≤ {_MEMORY_AT_MOST_MIB} MiB"
    return Row(name="memory of each, in MiB", cells=cells, target=target, met=mib <= _MEMORY_AT_MOST_MIB)


def _kilobytes_of(path: str, label: str) -> int:
    with open(path, encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(label))


def _descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))
