"""Going through cases: each is made from the seed, its target and its number alone, so that any of them can be repeated."""

from __future__ import annotations

import signal
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from types import FrameType

from fuzz.target import AnyTarget, check_refusal

from lxsandbox.errors import ImageError
from lxsandbox.images.unpack.refusal import Refused

__all__ = ["Outcome", "Run", "attempted", "shown"]

_MOST_SECONDS = 5.0  # of processor time, for one case: the slowest that is all right takes a tenth of one
_SLICE_SECONDS = 0.2
_SHOWN_OF_A_KIND = 2
_REPORT_SECONDS = 60.0


class TooLong(BaseException):
    """A case takes longer than any should."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a case; `kind` is the same for findings that are probably one."""

    text: str
    kind: str = ""
    is_taken: bool = False

    @property
    def is_finding(self) -> bool:
        return bool(self.kind)


def attempted(target: AnyTarget, seed: int, case: int) -> Outcome:
    """Make the case and try it."""
    made = target.make(_random(target, seed, case))
    try:
        with _time_limit():
            taken = target.attempt(made)
        return Outcome(text="taken" if taken else "refused", is_taken=taken)
    except (ImageError, Refused) as error:
        try:
            check_refusal(error)
        except AssertionError as finding:
            return _finding(finding, error)
        return Outcome(text=f"refused: {error}")
    except (Exception, TooLong) as error:  # noqa: BLE001 - this is what is looked for
        return _finding(error, error)


def _finding(error: BaseException, raised: BaseException) -> Outcome:
    frames = traceback.extract_tb(raised.__traceback__)
    ours = [frame for frame in frames if "/lxsandbox/" in frame.filename] or frames
    kind = f"{type(error).__name__} in {ours[-1].name}, line {ours[-1].lineno} of {ours[-1].filename.rpartition('/')[2]}"
    text = "".join(traceback.format_exception(raised)) + (f"{error}\n" if error is not raised else "")
    words = str(error).partition(":")[0][:100]
    return Outcome(text=text, kind=f"{kind}: {words}" if isinstance(error, AssertionError) else kind)


def shown(target: AnyTarget, seed: int, case: int) -> str:
    """The input of a case."""
    return repr(target.make(_random(target, seed, case)))


def _random(target: AnyTarget, seed: int, case: int) -> Random:
    return Random(f"{seed}/{target.name}/{case}")


@contextmanager
def _time_limit() -> Iterator[None]:
    # Processor time, which another process does not take away.
    def end(number: int, frame: FrameType | None) -> None:
        raise TooLong(f"more than {_MOST_SECONDS} seconds of processor time")

    before = signal.signal(signal.SIGVTALRM, end)
    signal.setitimer(signal.ITIMER_VIRTUAL, _MOST_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@dataclass
class _Count:
    seconds: float = 0.0
    cases: int = 0
    taken: int = 0
    kinds: Counter[str] = field(default_factory=Counter)


class Run:
    """A run over several targets, which take turns by their shares of the time."""

    def __init__(self, targets: Sequence[AnyTarget], seed: int, *, shares: Mapping[str, int]) -> None:
        self._targets = targets
        self._seed = seed
        self._shares = shares
        self._counts = {target.name: _Count() for target in targets}

    @property
    def findings(self) -> int:
        return sum(count.kinds.total() for count in self._counts.values())

    def go_on(self, *, seconds: float, cases: int | None) -> None:
        """For so long, or for so many cases of each target."""
        if cases is not None:
            for target in self._targets:
                for _ in range(cases):
                    self._next(target)
            return
        started = reported = time.monotonic()
        while (now := time.monotonic()) - started < seconds:
            if now - reported > _REPORT_SECONDS:
                reported = now
                print(f"after {(now - started) / 60:.0f} minutes: {self._line()}", flush=True)
            target = min(self._targets, key=self._turn)
            until = now + _SLICE_SECONDS
            while time.monotonic() < until:
                self._next(target)

    def _turn(self, target: AnyTarget) -> float:
        return self._counts[target.name].seconds / self._shares.get(target.name, 1)

    def _next(self, target: AnyTarget) -> None:
        count = self._counts[target.name]
        case = count.cases
        started = time.monotonic()
        outcome = attempted(target, self._seed, case)
        count.seconds += time.monotonic() - started
        count.cases += 1
        count.taken += outcome.is_taken
        if outcome.is_finding:
            count.kinds[outcome.kind] += 1
            if count.kinds[outcome.kind] <= _SHOWN_OF_A_KIND:
                print(f"\nFOUND by: python tests/fuzz --only {target.name} --seed {self._seed} --case {case}")
                print(outcome.text, flush=True)

    def _line(self) -> str:
        cases = sum(count.cases for count in self._counts.values())
        return f"{cases} cases, {self.findings} findings"

    def table(self) -> str:
        """Of each target how many cases there were, and what became of them."""
        lines = [f"{'target':<12}{'seconds':>9}{'cases':>10}{'taken':>10}{'refused':>10}{'findings':>10}"]
        for name, count in self._counts.items():
            found = count.kinds.total()
            refused = count.cases - count.taken - found
            lines.append(f"{name:<12}{count.seconds:>9.0f}{count.cases:>10}{count.taken:>10}{refused:>10}{found:>10}")
            lines += [f"    {number} times {kind}" for kind, number in count.kinds.most_common()]
        return "\n".join([*lines, self._line()])
