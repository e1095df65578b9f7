"""Where pytest's objects keep what is ours: the one place to see, without loading the runtime, whether a sandbox was used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from lxsandbox.sandbox.sandbox import Sandbox
    from pytest_lxsandbox.figures import Figures
    from pytest_lxsandbox.session import Run

__all__ = ["MADE", "RUN", "TOTAL", "made_for"]

# Of an item, or of the session: what was made for it, in order.
MADE: pytest.StashKey[list[Sandbox]] = pytest.StashKey()
# Of the config: this process's connection.
RUN: pytest.StashKey[Run] = pytest.StashKey()
# Of the config: what the processes of the run have told so far.
TOTAL: pytest.StashKey[Figures] = pytest.StashKey()


def made_for(node: pytest.Item | pytest.Session) -> list[Sandbox]:
    """What was made for it, closed ones too."""
    return node.stash.get(MADE, None) or []
