"""Commands: where and with what they start, what they get to read and to write, and how they end."""

from __future__ import annotations

import errno
import signal
from collections.abc import Callable
from subprocess import PIPE, CalledProcessError, TimeoutExpired

import pytest
from needs import needs

from lxsandbox import Sandbox
from lxsandbox.errors import CommandNotExecutable, CommandNotFound
from lxsandbox.sandbox.connection import ServiceConnection

pytestmark = needs("user-namespaces", "overlayfs")

ONLY = {"PATH", "HOME", "USER", "PWD", "OLDPWD", "SHLVL", "_"}  # what every command gets, and what a shell adds


def environment(box: Sandbox, **options: object) -> dict[str, str]:
    return dict(line.split("=", 1) for line in box.check_output(["env"], **options).splitlines())


def test_nothing_of_the_hosts_environment_comes_in_but_the_terminal_and_the_language(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", "token")
    monkeypatch.setenv("TERM", "xterm-fancy")
    monkeypatch.setenv("LANG", "C.UTF-8")
    monkeypatch.setenv("LC_ALL", "C")
    with Sandbox() as box:
        found = environment(box)

    assert set(found) <= ONLY | {"TERM", "LANG"}
    assert (found["TERM"], found["LANG"]) == ("xterm-fancy", "C.UTF-8")


def test_a_client_without_a_terminal_passes_none_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TERM", raising=False)
    monkeypatch.delenv("LANG", raising=False)
    with Sandbox() as box:
        assert set(environment(box)) <= ONLY


def test_a_main_command_gets_that_environment_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-fancy")
    with Sandbox(command=["sh", "-c", "echo $TERM; echo; exec sleep 1000"]) as box:
        box.run(["sh", "-c", "until grep -q sleep /proc/2/comm; do :; done"], timeout=30)
        assert box.logs() == "xterm-fancy\n\n"


def test_a_client_cannot_pass_in_what_no_environment_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "x" * 1000)  # long is fine: it is the user's own
    connection = ServiceConnection.open()
    try:
        with Sandbox(connection=connection) as box:
            assert environment(box)["TERM"] == "x" * 1000
    finally:
        connection.leave()


def test_the_spec_s_environment_is_added_and_a_command_s_own_wins(make_sandbox: Callable[..., Sandbox]) -> None:
    box = make_sandbox(env={"COLOUR": "red", "HOME": "/elsewhere", "TERM": "dumb"})

    assert environment(box) | {"COLOUR": "red", "HOME": "/elsewhere", "TERM": "dumb"} == environment(box)
    assert environment(box, env={"COLOUR": "blue", "EMPTY": ""}) == environment(box) | {"COLOUR": "blue", "EMPTY": ""}


def test_commands_are_found_by_the_path_of_their_own_environment(sandbox: Sandbox) -> None:
    sandbox.path("/opt/mine").mkdir(parents=True)
    sandbox.path("/opt/mine/tool").write_text("#!/bin/sh\necho mine\n")
    sandbox.path("/opt/mine/tool").chmod(0o755)

    assert sandbox.check_output(["tool"], env={"PATH": "/opt/mine"}) == "mine\n"
    with pytest.raises(CommandNotFound, match="'tool'"):
        sandbox.run(["tool"])


def test_a_command_starts_in_its_folder(make_sandbox: Callable[..., Sandbox]) -> None:
    box = make_sandbox(cwd="/usr")

    assert box.check_output(["pwd"]) == "/usr\n"
    assert box.check_output(["pwd"], cwd="/etc") == "/etc\n"


def test_a_folder_to_start_in_that_is_not_there_is_named(sandbox: Sandbox) -> None:
    with pytest.raises(CommandNotFound, match="cwd='/no/such'"):
        sandbox.run(["pwd"], cwd="/no/such")


def test_a_folder_to_start_in_leads_nowhere_but_into_the_sandbox(sandbox: Sandbox) -> None:
    sandbox.path("/up").symlink_to("../../../../etc")
    assert sandbox.check_output(["pwd", "-P"], cwd="/up") == "/etc\n"

    with pytest.raises(CommandNotFound, match="cwd="):  # a magic link: it would lead to init's own root
        sandbox.run(["pwd"], cwd="/proc/1/root")


@pytest.mark.parametrize("code", [0, 1, 42, 255])
def test_the_exit_code_is_the_commands(sandbox: Sandbox, code: int) -> None:
    assert sandbox.run(["sh", "-c", f"exit {code}"]).returncode == code


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV, signal.SIGPIPE, signal.SIGINT, signal.SIGXFSZ]
)
def test_a_signal_is_a_negative_code(sandbox: Sandbox, number: signal.Signals) -> None:
    assert sandbox.run(["sh", "-c", f"kill -{int(number)} $$"]).returncode == -number


def test_a_command_starts_with_no_signal_ignored_or_blocked(sandbox: Sandbox) -> None:
    status = sandbox.check_output(["cat", "/proc/self/status"])

    # glibc's posix_spawn leaves its own two signals, 32 and 33, ignored; no program can ask for them.
    assert "SigIgn:\t0000000180000000" in status or "SigIgn:\t0000000000000000" in status
    assert "SigBlk:\t0000000000000000" in status


def test_a_command_has_no_descriptor_but_its_three(sandbox: Sandbox) -> None:
    listed = sandbox.check_output(["sh", "-c", "echo /proc/self/fd/*"]).split()

    assert [name for name in listed if int(name.rpartition("/")[2]) > 2] in ([], ["/proc/self/fd/3"])  # its own listing


def test_the_same_holds_for_a_command_of_another_user(sandbox: Sandbox) -> None:
    listed = sandbox.run(["sh", "-c", "echo /proc/self/fd/*"], env={"X": "1"}, user="0:0").stdout.split()

    assert [name for name in listed if int(name.rpartition("/")[2]) > 2] in ([], ["/proc/self/fd/3"])


@pytest.mark.parametrize(
    ("args", "error"),
    [
        (["no-such-command"], CommandNotFound),
        (["/no/such/command"], CommandNotFound),
        (["/etc/passwd/x"], CommandNotFound),
        (["/etc/passwd"], CommandNotExecutable),
        (["/etc"], CommandNotExecutable),
        ([""], CommandNotFound),
    ],
)
@pytest.mark.parametrize("user", [None, "0:0"])
def test_what_cannot_be_started_is_named_with_what_to_do(
    sandbox: Sandbox, args: list[str], error: type[Exception], user: str | None
) -> None:
    with pytest.raises(error, match=repr(args[0])) as caught:
        sandbox.run(args, user=user)

    assert caught.value.__notes__
    assert sandbox.run(["true"]).returncode == 0


def test_a_script_without_its_interpreter_is_not_found(sandbox: Sandbox) -> None:
    sandbox.path("/script").write_text("#!/no/such/interpreter\n")
    sandbox.path("/script").chmod(0o755)

    with pytest.raises(CommandNotFound) as caught:
        sandbox.run(["/script"])
    assert "interpreter" in caught.value.hint


@pytest.mark.parametrize("user", [None, "0:0"])
def test_arguments_that_are_too_long_are_the_kernels_error_and_the_sandbox_goes_on(sandbox: Sandbox, user: str | None) -> None:
    with pytest.raises(OSError, match="Argument list too long") as caught:
        sandbox.run(["true", "x" * (1 << 20)], user=user)
    assert caught.value.errno == errno.E2BIG

    with pytest.raises(OSError, match="Argument list too long"):
        sandbox.run(["true"], env={"LONG": "x" * (1 << 20)}, user=user)
    assert sandbox.run(["true"]).returncode == 0


def test_many_arguments_and_odd_bytes_arrive_as_they_are(sandbox: Sandbox) -> None:
    args: list[str | bytes] = [b"\xff\xfe", "ä€😀", "a b", "$HOME", "", "'\"", "x" * 100_000]

    out = sandbox.run(["printf", "%s\\n", *args], text=False).stdout
    assert out.split(b"\n")[:-1] == [arg if isinstance(arg, bytes) else arg.encode() for arg in args]


def test_a_lot_of_output_arrives_whole(sandbox: Sandbox) -> None:
    done = sandbox.run(["sh", "-c", "head -c 30000000 /dev/zero; head -c 3000000 /dev/zero >&2"], text=False)

    assert (len(done.stdout), len(done.stderr)) == (30_000_000, 3_000_000)


def test_a_lot_of_input_comes_back_whole(sandbox: Sandbox) -> None:
    data = bytes(range(256)) * 40_000

    assert sandbox.run(["cat"], input=data, text=False).stdout == data


def test_input_that_nobody_reads_is_no_error(sandbox: Sandbox) -> None:
    assert sandbox.run(["true"], input="x" * 1_000_000).returncode == 0


def test_stdin_streams(sandbox: Sandbox) -> None:
    with sandbox.popen(["cat"], stdin=PIPE, stdout=PIPE) as cat:
        assert cat.stdin is not None
        assert cat.stdout is not None
        for line in ("one\n", "two\n"):
            cat.stdin.write(line)
            assert cat.stdout.readline() == line
        cat.stdin.close()
        assert cat.stdout.read() == ""


def test_many_commands_run_at_once(sandbox: Sandbox) -> None:
    running = [sandbox.popen(["sh", "-c", f"read x; exit {number}"]) for number in range(40)]

    for process in reversed(running):
        process.communicate("go\n")
    assert [process.wait(30) for process in running] == list(range(40))


def test_a_failure_that_is_checked_brings_what_was_printed(sandbox: Sandbox) -> None:
    with pytest.raises(CalledProcessError) as caught:
        sandbox.check_output(["sh", "-c", "echo why >&2; exit 3"])

    assert (caught.value.returncode, caught.value.stderr) == (3, "why\n")


def test_a_time_out_brings_what_was_printed_and_kills(sandbox: Sandbox) -> None:
    with pytest.raises(TimeoutExpired) as caught:
        sandbox.run(["sh", "-c", "echo begun; exec sleep 1000"], timeout=0.3)

    printed: object = caught.value.stdout  # the stubs know bytes alone
    assert printed == "begun\n"
    assert sandbox.run(["pgrep", "sleep"]).returncode == 1
