"""What the spawner has loaded is not written to by those who use it, and what comes later is counted as ever."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import lxsandbox.cli

SOURCE_ROOT = str(Path(lxsandbox.cli.__file__).resolve().parents[2])
START = f"""
import ctypes, gc, sys, weakref
sys.path.insert(0, {SOURCE_ROOT!r})
from lxsandbox import wire
from lxsandbox.spawner import sharing
before = [object(), "text of its own" + sys.argv[0], wire.send, wire.send.__code__, wire.send.__code__.co_consts, vars(wire)]
sharing.share_memory()
def count(each): return ctypes.c_uint32.from_address(id(each)).value
"""

immortal = pytest.mark.skipif(sys.version_info < (3, 12), reason="before Python 3.12 every count is written to")


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-I", "-S", "-c", START + code], capture_output=True, text=True, check=True)
    return done.stdout


@immortal
def test_using_what_was_there_before_leaves_its_count_as_it_is() -> None:
    said = run("""
counts = [count(each) for each in before]
more = before * 3
print(counts == [count(each) for each in before], len(set(counts)))
""")
    assert said == "True 1\n"


def test_what_comes_later_is_counted_and_ends() -> None:
    said = run("""
class Later: pass
one = Later()
ended = weakref.ref(one)
again = [one, one]
print(sys.getrefcount(one))
del one, again
print(ended())
""")
    few, gone = said.split()
    assert int(few) < 10
    assert gone == "None"


def test_no_collection_comes_by_itself() -> None:
    assert run("print(gc.isenabled(), gc.get_freeze_count() > 1000)") == "False True\n"


def test_the_interpreter_ends_as_it_should() -> None:
    run("import atexit; atexit.register(print, 'bye')")
