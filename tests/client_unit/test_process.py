from __future__ import annotations

import os
import signal
import subprocess

import pytest

from lxsandbox.errors import SandboxDied, SandboxError


def test_a_conversation_line_by_line(box):
    with box.popen(["cat"]) as process:
        process.stdin.write("one\n")
        assert process.stdout.readline() == "one\n"
        assert process.poll() is None
    assert process.returncode == 0


def test_communicate_feeds_and_collects_at_once(box):
    process = box.popen(["sh", "-c", "cat; echo done >&2"], text=False)

    out, err = process.communicate(b"x" * 10**6)

    assert (len(out), err, process.returncode) == (10**6, b"done\n", 0)


def test_communicate_goes_on_after_a_time_out(box):
    process = box.popen(["sh", "-c", "echo early; read line; echo late $line"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    with pytest.raises(subprocess.TimeoutExpired) as expired:
        process.wait(0.1)
    assert expired.value.cmd == process.args

    assert process.communicate("x\n") == ("early\nlate x\n", None)


def test_signals_end_it_and_are_not_sent_to_the_ended(box):
    with box.popen(["sleep", "60"]) as process:
        process.terminate()
        assert process.wait(10) == -signal.SIGTERM
        process.kill()
    assert "ended with -15" in repr(process)


def test_streams_may_be_files_and_descriptors(box, tmp_path):
    with open(tmp_path / "out", "wb") as out:
        process = box.popen(
            ["sh", "-c", "echo out; echo err >&2"], stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
        )
        assert (process.wait(), process.stdin, process.stdout, process.stderr) == (0, None, None, None)

    assert (tmp_path / "out").read_text() == "out\nerr\n"


def test_a_terminal_is_one_raw_file(box):
    with box.popen(["sh", "-c", "test -t 0 && stty size"], pty=True) as process:
        process.resize(40, 132)
        process.wait()
        assert process.terminal.fileno() > 2
        assert os.get_terminal_size(process.terminal.fileno()) == (132, 40)


def test_what_a_terminal_shows_can_be_collected(box):
    out, err = box.popen(["echo", "hello"], pty=True).communicate()

    assert (out, err) == ("hello\n", None)


def test_only_a_terminal_can_be_resized(box):
    with box.popen(["true"]) as process, pytest.raises(SandboxError, match="no terminal"):
        process.resize(1, 1)


def test_its_sandbox_may_die_under_it(box, init, service):
    service.death = {"reason": "killed"}
    with box.popen(["sleep", "60"]) as process:
        init.hang_up()
        with pytest.raises(SandboxDied, match="killed"):
            process.wait()
