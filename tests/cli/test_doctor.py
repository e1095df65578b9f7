"""`lxsandbox doctor`: a table for people, JSON for programs, and an exit code that says whether sandboxes can start."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

import pytest
from needs import needs

from lxsandbox.host import NAMES

Command = Callable[..., subprocess.CompletedProcess[str]]

WITHOUT_USER_NAMESPACES = (
    *("unshare", "--user", "--map-root-user", "sh", "-ec"),
    'echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"',
    "sh",
)


@needs("user-namespaces", "overlayfs", "libseccomp")
def test_a_host_that_starts_sandboxes_is_fine(lxsandbox_command: Command) -> None:
    done = lxsandbox_command("doctor")
    assert done.returncode == 0
    assert all(f"\n{name} " in done.stdout for name in NAMES)


@needs("user-namespaces", "overlayfs", "libseccomp")
def test_json_has_the_same_facts_for_programs(lxsandbox_command: Command) -> None:
    done = lxsandbox_command("doctor", "--json")
    report = json.loads(done.stdout)
    assert report["ok"] is True
    assert {"kernel", "python", "uid"} < set(report)
    assert [each["name"] for each in report["capabilities"]] == list(NAMES)
    for each in report["capabilities"]:
        assert set(each) == {"name", "ok", "required", "detail", "consequence", "fix"}
        assert each["ok"] or not each["required"]


@needs("user-namespaces", "unshare")
def test_what_is_missing_is_said_with_its_consequence_and_one_fix(lxsandbox_command: Command) -> None:
    done = lxsandbox_command("doctor", prefix=WITHOUT_USER_NAMESPACES)
    assert done.returncode == 1
    assert "\nuser-namespaces: no sandbox can start\n" in done.stdout
    assert done.stdout.count("fix: sysctl -w user.max_user_namespaces=15000") == 1


@needs("user-namespaces", "unshare")
@pytest.mark.parametrize("form", ["table", "json"])
def test_the_exit_code_is_1_in_every_form_when_something_required_is_missing(lxsandbox_command: Command, form: str) -> None:
    done = lxsandbox_command("doctor", *(["--json"] if form == "json" else []), prefix=WITHOUT_USER_NAMESPACES)
    assert done.returncode == 1
    assert form == "table" or json.loads(done.stdout)["ok"] is False


@needs("user-namespaces", "overlayfs", "libseccomp")
def test_on_a_terminal_it_is_a_table_of_its_width(terminal: Callable[..., object]) -> None:
    window = terminal("doctor")
    assert window.wait() == 0  # type: ignore[attr-defined]
    lines = window.shown.splitlines()  # type: ignore[attr-defined]
    assert max(map(len, lines)) < 140  # 100 columns and the codes of the colours
    assert any("user-namespaces" in line and "\x1b[" in line for line in lines)
