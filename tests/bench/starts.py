"""How long a sandbox takes from nothing to gone: with a command, beside other tools, and as a fixture without one."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from lab import Lab
from peers import BWRAP, find_peers
from table import Section, row
from timing import Contestant, Figures, Rounds, in_turn, milliseconds_of

from lxsandbox.sandbox.connection import ServiceConnection
from lxsandbox.sandbox.sandbox import Sandbox

__all__ = ["measure_fixture", "measure_starts"]

_COLD, _POOLED, _FIRST = "cold", "pooled", "first of a run"
_PACED, _UNPACED, _MAKE, _CLOSE = "paced", "back to back", "set up alone", "tear down alone"
_BURST = 20


def measure_starts(lab: Lab, rounds: int, folder: Path) -> Section:
    """Make, run `true`, close; beside the peers."""
    peers = find_peers(folder)
    ours = [
        Contestant(name=_COLD, once=lambda: _run_true(lab.novel()), around=lab.at_rest),
        Contestant(name=_POOLED, once=lambda: _run_true(lab.usual()), around=lab.at_rest),
        Contestant(name=_FIRST, once=_first_of_a_run),
    ]
    taken = in_turn([*peers.present, *ours], rounds)
    rows = [row(taken, each.name, peer=BWRAP if each.name != BWRAP else "") for each in peers.present]
    rows += [
        row(taken, _COLD, peer=BWRAP, ratio_at_most=1.2),
        row(taken, _POOLED, peer=BWRAP),
        row(taken, _FIRST, peer=BWRAP),
    ]
    return Section(title="Make, run `true`, remove", about=_ABOUT_STARTS, rows=rows, absent=peers.absent)


def _run_true(box: Sandbox) -> None:
    with box:
        box.run(["true"], check=True)


def _first_of_a_run() -> None:
    connection = ServiceConnection.open()
    _run_true(Sandbox(connection=connection))
    connection.leave()


def measure_fixture(lab: Lab, rounds: int) -> Section:
    """Make and close without a command, as a fixture does around its test."""
    hits_before = lab.pool_hits
    taken: Rounds = in_turn(_paced(lab), rounds)
    hits = lab.pool_hits - hits_before
    hits_before = lab.pool_hits
    taken[_UNPACED] = Figures.of([_burst_ms(lab) for _ in range(max(3, rounds // _BURST))])
    burst_hits = lab.pool_hits - hits_before
    about = f"{_ABOUT_FIXTURE} From the pool came {hits} of those paced, and {burst_hits} of those back to back."
    return Section(
        title="Set up and tear down the `sandbox` fixture",
        about=about,
        rows=[row(taken, _PACED, median_at_most_ms=1.5), row(taken, _MAKE), row(taken, _CLOSE), row(taken, _UNPACED)],
    )


def _paced(lab: Lab) -> list[Contestant]:
    made: list[Sandbox] = []

    @contextmanager
    def closed_after() -> Generator[None]:
        with lab.at_rest():
            yield
            made.pop().close()

    @contextmanager
    def made_before() -> Generator[None]:
        made.append(lab.usual())
        with lab.at_rest():
            yield

    return [
        Contestant(name=_PACED, once=lambda: lab.usual().close(), around=lab.at_rest),
        Contestant(name=_MAKE, once=lambda: made.append(lab.usual()), around=closed_after),
        Contestant(name=_CLOSE, once=lambda: made.pop().close(), around=made_before),
    ]


def _burst_ms(lab: Lab) -> float:
    """Of one among many that are made and closed without a pause."""
    lab.rest()

    def burst() -> None:
        for _ in range(_BURST):
            lab.usual().close()

    taken = milliseconds_of(burst)
    lab.rest()
    return taken / _BURST


_ABOUT_STARTS = """\
`cold`: of a shape (image, mounts, disk size …) that the run has never seen; its namespaces were made ahead, as they are whenever
the service is idle, its root was not. `pooled`: of a shape seen before, made ahead as a whole. `first of a run`: with the start
and the end of the service around it. The peers: `bwrap --unshare-all --ro-bind / / --proc /proc --dev /dev true`; `runc run` of a
root with busybox alone; each started by `subprocess.run` with its output captured, as `run` does it inside."""
_ABOUT_FIXTURE = f"""\
No command is run. `{_PACED}`: the pool is full again before each; while one is torn down the next is made behind it, which is not
so in the two lines after. `{_UNPACED}`: {_BURST} in a row without a pause, the time of one: the pool cannot keep up, as with
tests that do nothing."""
