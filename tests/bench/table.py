"""What was measured, as tables: on the terminal, and as the page of the documentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from timing import Figures, Rounds

__all__ = ["Row", "Section", "as_page", "as_text", "row"]

_HEAD = ("", "min", "median", "max", "rounds", "against", "ratio", "target", "")


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One line: its cells as text. `met` is None where there is no target."""

    name: str
    cells: Sequence[str]
    target: str = ""
    met: bool | None = None

    def texts(self) -> list[str]:
        verdict = "" if self.met is None else "met" if self.met else "missed"
        return [self.name, *self.cells, self.target, verdict]


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A table, what is in it, and what could not be measured."""

    title: str
    about: str
    rows: Sequence[Row]
    absent: Sequence[str] = field(default_factory=tuple)


def row(rounds: Rounds, name: str, *, peer: str = "", ratio_at_most: float = 0.0, median_at_most_ms: float = 0.0) -> Row:
    """The line of one contestant, beside its peer and its target."""
    figures = rounds[name]
    against = rounds.get(peer)
    ratio = figures.median / against.median if against is not None else None
    target, met = "", None
    if ratio_at_most:
        target = f"≤ {ratio_at_most:g} of {peer}"
        met = None if ratio is None else ratio <= ratio_at_most
    elif median_at_most_ms:
        target, met = f"≤ {median_at_most_ms:g} ms", figures.median <= median_at_most_ms
    cells = [*figure_cells(figures), "" if against is None else peer, "" if ratio is None else f"{ratio:.2f}"]
    return Row(name=name, cells=cells, target=target, met=met)


def figure_cells(figures: Figures) -> list[str]:
    """Minimum, median and maximum in milliseconds, and of how many."""
    return [*(f"{value:.2f}" for value in (figures.minimum, figures.median, figures.maximum)), str(figures.count)]


def as_text(section: Section) -> str:
    """For a terminal: columns, aligned."""
    lines = [list(_HEAD), *(each.texts() for each in section.rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    aligned = [
        "  ".join(_aligned(text, width, column) for column, (text, width) in enumerate(zip(line, widths, strict=True)))
        for line in lines
    ]
    absent = [f"absent: {reason}" for reason in section.absent]
    return "\n".join(["", section.title, section.about, *(line.rstrip() for line in aligned), *absent])


def _aligned(text: str, width: int, column: int) -> str:
    return text.rjust(width) if column in (1, 2, 3, 4, 6) else text.ljust(width)


def as_page(sections: Sequence[Section], machine: Sequence[tuple[str, str]]) -> str:
    """The Markdown of the page."""
    parts = ["# Benchmarks", _INTRODUCTION, "\n".join(["| machine | |", "|---|---|", *(f"| {k} | {v} |" for k, v in machine)])]
    for section in sections:
        head = [_line(_HEAD), "|---|--:|--:|--:|--:|---|--:|---|---|"]
        parts += [f"## {section.title}", section.about, "\n".join([*head, *(_line(each.texts()) for each in section.rows)])]
        parts += [f"Absent: {reason}." for reason in section.absent]
    return "\n\n".join(parts) + "\n"


def _line(texts: Sequence[str]) -> str:
    return f"| {' | '.join(texts)} |"


_INTRODUCTION = """\
Written by `tox -e bench -- --write`. Times are wall time in milliseconds. In each table everything is measured in turn (A, B, C,
A, B, C, …) in one run, so that what else the machine does falls on all alike: compare within a table, and trust ratios more than
times. Ratios and targets are of medians. What works ahead of need in the background has come to rest before each measurement."""
