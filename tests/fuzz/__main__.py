"""Inputs that no program would make, by the thousand, for all that reads images: `tox -e fuzz`, or `python tests/fuzz`.

Without arguments it takes ten minutes and prints the seed it took. What it finds it prints with the command that repeats it; the
answer is then 1.
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import secrets
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the suite's own modules, and this folder as one of them

from fuzz.answers import Answers
from fuzz.documents import Documents
from fuzz.headers import Headers
from fuzz.image_files import ImageFiles
from fuzz.namespace import become_root
from fuzz.packing import Packing
from fuzz.references import References
from fuzz.running import Run, attempted, shown
from fuzz.streams import Streams
from fuzz.target import AnyTarget
from fuzz.unpacking import Unpacking

_MOST_MEMORY_BYTES = 2 << 30  # of address space, as all that is read here comes in small pieces
_SHARES = {"tar": 6, "pack": 2}  # of the time; the others have one each


def main() -> int:
    """Run what the arguments say."""
    options = _parser().parse_args()
    become_root()
    assert isinstance(sys.stdout, io.TextIOWrapper)
    sys.stdout.reconfigure(errors="backslashreplace")  # what is found may be no Unicode
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY_BYTES, _MOST_MEMORY_BYTES))
    os.umask(0o022)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        targets = {target.name: target for target in _targets(Path(folder)) if options.only in (None, target.name)}
        if options.case is not None:
            return _repeat(next(iter(targets.values())), options.seed, options.case)
        run = Run(list(targets.values()), options.seed, shares=_SHARES)
        print(f"seed {options.seed}", flush=True)
        try:
            run.go_on(seconds=options.seconds, cases=options.cases)
        except KeyboardInterrupt:
            print("interrupted")
        print(run.table())
        return 1 if run.findings else 0


def _targets(folder: Path) -> list[AnyTarget]:
    return [
        Unpacking(folder),
        Headers(),
        ImageFiles(folder),
        Documents(),
        References(folder),
        Packing(folder),
        Streams(folder),
        Answers(),
    ]


def _repeat(target: AnyTarget, seed: int, case: int) -> int:
    print(shown(target, seed, case))
    outcome = attempted(target, seed, case)
    print(outcome.text)
    return 1 if outcome.is_finding else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python tests/fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="how long (ten minutes)")
    parser.add_argument("--cases", type=int, help="this many of each target instead")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 32), help="repeat the cases of another run")
    names = ["tar", "headers", "files", "documents", "references", "pack", "streams", "answers"]
    parser.add_argument("--only", choices=names, help="one target")
    parser.add_argument("--case", type=int, help="show this one of the target's cases, and what becomes of it; needs --only")
    return parser


if __name__ == "__main__":
    sys.exit(main())
