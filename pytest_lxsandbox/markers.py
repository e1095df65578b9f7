"""The marker `sandbox(**fields)`: which fields a test has, nearest first, and the check of all of them at collection."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from lxsandbox.errors import SpecError
from lxsandbox.spec import SandboxSpec, field_names

__all__ = ["check", "fields_of"]

_SHOWN = 10


def fields_of(item: pytest.Item) -> dict[str, Any]:
    """The fields that the markers of `item` give: function over class over module, field by field.

    Raises SpecError for arguments without a name, which no field can take.
    """
    fields: dict[str, Any] = {}
    for mark in _marks(item):
        if mark.args:
            names = ", ".join(field_names())
            raise SpecError(f"the sandbox marker takes fields by name, and got {mark.args!r}", hint=f"the fields are {names}")
        fields |= mark.kwargs
    return fields


def _marks(item: pytest.Item) -> list[pytest.Mark]:
    # Within one node pytest lists base classes before subclasses, and the marks of a parameter last: the nearest comes last.
    return [mark for node in item.listchain() for mark in node.own_markers if mark.name == "sandbox"]


def check(items: Iterable[pytest.Item]) -> None:
    """Raise pytest.UsageError naming the tests whose marker has an unknown field or a value that makes no sense."""
    wrong: list[str] = []
    sound: set[tuple[int, ...]] = set()
    for item in items:
        shape = tuple(id(mark) for mark in _marks(item))
        if shape in sound:
            continue
        try:
            SandboxSpec.from_fields(fields_of(item))
            sound.add(shape)
        except SpecError as error:
            wrong.append(f"{item.nodeid}: sandbox marker: {error}" + (f"\nhint: {error.hint}" if error.hint else ""))
    if wrong:
        more = [f"and {len(wrong) - _SHOWN} tests more"] if len(wrong) > _SHOWN else []
        raise pytest.UsageError("\n".join(wrong[:_SHOWN] + more))
