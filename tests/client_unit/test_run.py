from __future__ import annotations

import os
import signal
import subprocess
import threading

import pytest

from lxsandbox.errors import SandboxDied, SandboxError, SpecError


def test_run_gives_what_subprocess_gives(box):
    done = box.run(["sh", "-c", "echo out; echo err >&2; exit 3"])

    assert isinstance(done, subprocess.CompletedProcess)
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")


def test_input_far_beyond_a_pipes_capacity_goes_through(box):
    data = bytes(range(256)) * 8192

    assert box.run(["cat"], input=data, text=False).stdout == data


def test_stdin_is_empty_by_default(box):
    assert box.run(["cat"]).stdout == ""


def test_a_command_that_does_not_read_its_input_is_no_error(box):
    assert box.run(["true"], input="x" * 10**6).returncode == 0


def test_bytes_that_are_no_text_are_shown_as_such(box):
    assert box.run(["printf", r"\377\r\n"]).stdout == "\ufffd\n"


def test_check_raises_with_stderr_as_a_note(box):
    with pytest.raises(subprocess.CalledProcessError) as failed:
        box.check_output(["sh", "-c", "echo why >&2; exit 4"])

    assert failed.value.returncode == 4
    assert failed.value.__notes__ == ["stderr: why"]


def test_a_time_out_kills_the_whole_tree_and_keeps_what_was_printed(box, init):
    with pytest.raises(subprocess.TimeoutExpired) as expired:
        box.run(["sh", "-c", "echo begun; sleep 60 & sleep 60"], timeout=0.3)

    assert expired.value.output == "begun\n"
    assert [process.poll() for process in init.running.values()] == [-signal.SIGKILL]


def test_a_command_that_never_stops_printing_is_timed_out_as_well(box):
    with pytest.raises(subprocess.TimeoutExpired):
        box.run(["cat", "/dev/zero"], text=False, timeout=0.1)


def test_ctrl_c_kills_the_command_and_is_passed_on(box, init):
    alarm = threading.Timer(0.2, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT))
    alarm.start()
    with pytest.raises(KeyboardInterrupt):
        box.run(["sleep", "60"])

    alarm.join()
    assert [process.wait(10) for process in init.running.values()] == [-signal.SIGKILL]


def test_uncaptured_output_goes_where_this_process_prints(box, capfd):
    done = box.run(["sh", "-c", "echo out; echo err >&2"], capture_output=False)

    assert (done.stdout, done.stderr) == (None, None)
    assert capfd.readouterr() == ("out\n", "err\n")


def test_many_threads_share_one_sandbox(box):
    outputs: dict[int, str] = {}
    threads = [threading.Thread(target=lambda n=n: outputs.update({n: box.check_output(["echo", str(n)])})) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert outputs == {n: f"{n}\n" for n in range(16)}


def test_no_descriptor_is_left_over(box):
    box.run(["true"])
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        box.run(["cat"], input="x")
    with pytest.raises(FileNotFoundError):
        box.run(["/nonexistent"])

    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("args", ["ls -l", b"ls", [], ["a\0b"], [1], None])
def test_arguments_that_make_no_sense_are_refused(box, args):
    with pytest.raises(SpecError):
        box.run(args)


def test_a_string_is_answered_with_pass_a_list(box):
    with pytest.raises(SpecError) as refused:
        box.run("ls -l")

    assert "pass a list" in refused.value.hint


def test_arguments_may_be_paths_of_the_sandbox(box):
    assert box.check_output(["echo", box.path("/etc/hosts")]) == "/etc/hosts\n"


def test_the_environment_of_the_command_is_added_to(box):
    assert box.check_output(["sh", "-c", "echo $GREETING"], env={"GREETING": "hello"}) == "hello\n"


def test_a_dead_sandbox_says_why_at_every_call(box, init, service):
    service.death = {"reason": "oom", "memory_limit_bytes": 2**28, "memory_peak_bytes": 2**28}
    init.hang_up()

    for call in (lambda: box.run(["true"]), lambda: box.path("/").exists(), box.stats, lambda: box.connect(80)):
        with pytest.raises(SandboxDied, match="limit 256 MiB, peak 256 MiB"):
            call()
    assert box.state == "exited"
    assert "out of memory" in repr(box)


def test_a_sandbox_that_dies_under_a_command_ends_the_call(box, init, service):
    service.death = {"reason": "exit", "exit_code": 5, "log_tail": "boom"}
    threading.Timer(0.1, lambda: (init.hang_up(), [os.killpg(pid, signal.SIGKILL) for pid in init.running])).start()

    with pytest.raises(SandboxDied) as died:
        box.run(["sleep", "60"])
    assert died.value.death.exit_code == 5
    assert "boom" in died.value.__notes__[0]


def test_closing_twice_is_fine_and_later_calls_say_that_it_was_closed(box):
    box.close()
    box.close()

    with pytest.raises(SandboxDied, match="it was closed"):
        box.run(["true"])
    assert box.final_stats.memory_bytes == 1


def test_a_paused_sandbox_says_so_instead_of_hanging(box):
    box.pause()
    with pytest.raises(SandboxError, match="is paused"):
        box.run(["true"])

    box.resume()
    assert (box.run(["true"]).returncode, box.state) == (0, "running")


def test_only_limits_can_be_updated(box, service):
    box.update(memory="256M", pids="max")
    assert service.asked[-1]["limits"] == {"memory": 2**28, "pids": "max"}

    with pytest.raises(SpecError, match="image"):
        box.update(image="other")
