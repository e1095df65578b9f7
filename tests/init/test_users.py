"""Who a command runs as: the sandbox's own users, and what odd names come to."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from needs import needs

from lxsandbox import Sandbox
from lxsandbox.errors import SpecError

pytestmark = needs("user-namespaces", "overlayfs", "id-range")

PASSWD = """root:x:0:0:root:/root:/bin/sh
web:x:1234:2345:Web:/srv/web:/bin/sh
nohome:x:1300:1300::relative:/bin/sh
toor:x:0:7:second root:/:/bin/sh
far:x:99999999999:1:::
short:x:5
neg:x:-5:1:::
empty:x::1:::
0:x:1400:1400:a name of digits:/:/bin/sh
"""
GROUP = """root:x:0:
web:x:2345:
extra:x:3000:web,other
more:x:3001:other,web
bad:x:no:
webbish:x:3002:web2,xweb
"""
SHOW = ["sh", "-c", 'echo "$(id -u):$(id -g):$(id -G):$USER:$HOME"']


@pytest.fixture
def box(sandbox: Sandbox) -> Sandbox:
    for path, text in (("/etc/passwd", PASSWD), ("/etc/group", GROUP)):
        sandbox.path(path).unlink()  # a plain user's sandbox may replace the host's file, not write to it
        sandbox.path(path).write_text(text)
    return sandbox


@pytest.mark.parametrize(
    ("user", "shown"),
    [
        (None, "0:0:0:root:/root"),
        ("root", "0:0:0:root:/root"),
        (0, "0:0:0:root:/root"),
        ("web", "1234:2345:2345 3000 3001:web:/srv/web"),
        (1234, "1234:2345:2345 3000 3001:web:/srv/web"),
        ("web:extra", "1234:3000:3000:web:/srv/web"),
        ("web:44", "1234:44:44:web:/srv/web"),
        ("4321", "4321:4321:4321:4321:/"),
        ("4321:44", "4321:44:44:4321:/"),
        ("4321:root", "4321:0:0:4321:/"),
        ("0:44", "0:44:44:root:/root"),
        ("nohome", "1300:1300:1300:nohome:/"),
        ("toor", "0:7:7:toor:/"),
    ],
)
def test_a_user_is_looked_up_in_the_sandbox(box: Sandbox, user: str | int | None, shown: str) -> None:
    assert box.check_output(SHOW, user=user).strip() == shown


@pytest.mark.parametrize(
    "user",
    ["nobody-here", "web:nobody-here", "web:", ":web", ":", "far", "short", "neg", "empty", "-1", "4294967295", "00", "0x0",
     "\uff11",     "99999999999999999999", "web:-1", "web:4294967295", "web:bad", "web:web:web",
     "../root", "root\n", "", " ", "0 ", "Root"],
)  # fmt: skip
def test_what_names_no_user_is_an_error_and_never_root(box: Sandbox, user: str) -> None:
    with pytest.raises(SpecError, match=r"user|id|group|empty"):
        box.run(["id"], user=user)


def test_the_user_of_the_spec_is_the_default_and_can_be_overridden(make_sandbox: Callable[..., Sandbox]) -> None:
    box = make_sandbox(user="4321:44")

    assert box.check_output(["id", "-u"]) == "4321\n"
    assert box.check_output(["id", "-u"], user="root") == "0\n"


def test_a_passwd_file_that_is_a_pipe_or_a_link_to_itself_hangs_nobody(sandbox: Sandbox) -> None:
    sandbox.run(["sh", "-c", "rm /etc/passwd && mkfifo /etc/passwd"], check=True)
    with pytest.raises(SpecError, match="no user 'web'"):
        sandbox.run(["id"], user="web")

    sandbox.run(["sh", "-c", "rm /etc/passwd && ln -s passwd /etc/passwd"], check=True)
    with pytest.raises(SpecError, match="no user 'web'"):
        sandbox.run(["id"], user="web")
    assert sandbox.check_output(["id", "-u"], user="root") == "0\n"


def test_an_unprivileged_user_has_no_capability_and_cannot_write_to_root_s_files(sandbox: Sandbox) -> None:
    assert "CapEff:\t0000000000000000" in sandbox.check_output(["cat", "/proc/self/status"], user=1000)
    assert sandbox.run(["sh", "-c", "echo x > /etc/passwd"], user=1000).returncode != 0


def test_a_main_command_runs_as_the_user_of_the_spec(make_sandbox: Callable[..., Sandbox]) -> None:
    box = make_sandbox(user="4321:44", command=["sh", "-c", "id -u; id -g; exec sleep 1000"])

    assert box.check_output(["sh", "-c", 'until [ -n "$(pgrep -u 4321 sleep)" ]; do :; done; echo done'], user="root")
    assert box.logs() == "4321\n44\n"
