"""How long things take on this machine: `tox -e bench`, or `python tests/bench`. Slowness is no failure; a leak is one.

`--write` puts what was measured into docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from commands import measure_commands, measure_copies
from crowd import measure_crowd
from forwards import measure_forwards
from images import measure_images, measure_snapshots
from lab import Lab
from machine import describe
from networks import measure_networks
from plugin import measure_plugin
from readiness import measure_readiness
from starts import measure_fixture, measure_starts
from table import Section, as_page, as_text

_PAGE = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"
_COPIES_AT_MOST = 10
_IMAGES_AT_MOST = 5
_PYTEST_RUNS_AT_MOST = 20
_READY_ROUNDS_AT_MOST = 30


def main() -> int:
    """Measure, print, and write where asked to."""
    options = _parser().parse_args()
    # select(2) is used nowhere; a thousand sandboxes take more descriptors than the usual soft limit of 1024.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory(prefix="lxsandbox-bench-") as folder:
        lab = Lab()
        try:
            machine = _machine(lab)
            print("\n".join(f"{name}: {value}" for name, value in machine))
            sections = []
            for section in _sections(lab, options, Path(folder)):
                print(as_text(section), flush=True)
                sections.append(section)
        finally:
            lab.close()
    if options.write is not None:
        options.write.write_text(as_page(sections, machine), encoding="utf-8")
    return 0


def _sections(lab: Lab, options: argparse.Namespace, folder: Path) -> Iterator[Section]:
    rounds: int = options.rounds
    measures: dict[str, Callable[[], Section | Sequence[Section]]] = {
        "starts": lambda: measure_starts(lab, rounds, folder),
        "fixture": lambda: measure_fixture(lab, rounds),
        "commands": lambda: measure_commands(lab, rounds),
        "copies": lambda: measure_copies(lab, min(rounds, _COPIES_AT_MOST)),
        "readiness": lambda: measure_readiness(lab, min(rounds, _READY_ROUNDS_AT_MOST)),
        "forwards": lambda: measure_forwards(lab, rounds),
        "crowd": lambda: measure_crowd(lab, options.live),
        "images": lambda: measure_images(min(rounds, _IMAGES_AT_MOST)),
        "snapshots": lambda: measure_snapshots(rounds),
        "networks": lambda: measure_networks(lab, rounds),
        "plugin": lambda: measure_plugin(min(rounds, _PYTEST_RUNS_AT_MOST), folder),
    }
    for name, measure in measures.items():
        if not options.only or name in options.only:
            measured = measure()
            yield from [measured] if isinstance(measured, Section) else measured


def _machine(lab: Lab) -> list[tuple[str, str]]:
    hello = lab.connection.hello
    return describe(run_folder=lab.connection.folder, cgroups=hello.cgroups, mapping=hello.mapping, missing=hello.missing)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tests/bench", description="How long things take on this machine.")
    parser.add_argument("--rounds", type=int, default=100, help="of each (default: 100; fewer of what takes long)")
    parser.add_argument("--live", type=int, default=1000, metavar="N", help="how many sandboxes live at once (default: 1000)")
    choices = (
        *("starts", "fixture", "commands", "copies", "readiness", "forwards", "crowd", "images", "snapshots", "networks"),
        "plugin",
    )
    parser.add_argument("--only", nargs="+", choices=choices, help="measure these alone")
    parser.add_argument(
        "--write", nargs="?", type=Path, const=_PAGE, metavar="PATH", help=f"write a page (default: {_PAGE.name} of the docs)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
