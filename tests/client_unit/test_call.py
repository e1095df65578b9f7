from __future__ import annotations

import datetime
import json
import os
import pathlib
import pickle
import sys

import pytest

from lxsandbox.errors import SandboxError
from lxsandbox.sandbox.calls import load_plain


class Boom(Exception):
    """An exception of the function's own module."""


class Custom:
    """Something that is no plain data."""


class Unwilling:
    def __reduce__(self):
        raise TypeError("not me")


OFFSET = 40


def add(a, b=0):
    print("adding")
    return {"sum": a + b + OFFSET, "pid": os.getpid()}


def test_a_function_runs_in_a_process_of_the_sandbox(box, capsys):
    value = box.call(add, 1, b=1)

    assert value["sum"] == 42
    assert value["pid"] != os.getpid()
    assert capsys.readouterr().out == "adding\n"


def test_a_closure_and_plain_data_of_every_kind_go_both_ways(box):
    data = [1, 2.5, "x", b"y", (None, True), {1, 2}, {"k": datetime.date(2024, 2, 29)}, pathlib.PurePosixPath("/a")]

    assert box.call(lambda: data) == data


@pytest.mark.parametrize("error", [ValueError("x", 3), Boom("y"), FileNotFoundError(2, "No such file", "/z"), KeyError("k")])
def test_its_exception_is_raised_here(box, error):
    def fail():
        raise error

    with pytest.raises(type(error)) as raised:
        box.call(fail)

    assert (raised.value.args, str(raised.value)) == (error.args, str(error))
    assert "in fail" in raised.value.__notes__[0]


def test_an_exception_of_the_standard_library_too(box):
    with pytest.raises(json.JSONDecodeError):
        box.call(json.loads, "{")


def test_leaving_the_interpreter_does_not_leave_this_one(box):
    with pytest.raises(SandboxError, match=r"raised builtins\.SystemExit: 3"):
        box.call(sys.exit, 3)


def test_a_process_that_is_gone_is_said_to_be(box):
    with pytest.raises(SandboxError, match="returncode 7") as raised:
        box.call(os._exit, 7)
    assert raised.value.__notes__


def test_what_is_no_plain_data_is_refused_by_name(box):
    with pytest.raises(SandboxError, match="Custom") as refused:
        box.call(Custom)
    assert "plain data" in refused.value.hint


def test_what_cannot_be_pickled_is_said_to_be(box):
    with pytest.raises(SandboxError, match="Unwilling: not me"):
        box.call(Unwilling)


class _Evil:
    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "attack",
    [_Evil(os.system, "true"), _Evil(eval, "1"), _Evil(getattr, "x", "upper"), _Evil(Boom, "x"), _Evil(open, "/etc/passwd")],
)
def test_a_forged_outcome_runs_nothing(attack):
    with pytest.raises(SandboxError, match="not taken from a sandbox"):
        load_plain(pickle.dumps(attack), add)


@pytest.mark.parametrize("data", [b"", b"garbage", pickle.dumps([1])[:-1], b"\x80\x04Pid\n."])
def test_what_is_no_pickle_is_no_crash(data):
    with pytest.raises(SandboxError):
        load_plain(data, add)
