"""When a command is started again, and how long is waited before that: the rules alone."""

from __future__ import annotations

import pytest

from lxsandbox.errors import SpecError
from lxsandbox.restarts import Backoff, RestartPolicy


@pytest.mark.parametrize(
    ("text", "status", "restarts", "wanted"),
    [
        ("no", 1, 0, False),
        ("no", 0, 0, False),
        ("always", 0, 0, True),
        ("always", -9, 10_000, True),
        ("on-failure", 0, 0, False),
        ("on-failure", 1, 10_000, True),
        ("on-failure", -15, 0, True),
        ("on-failure:2", 3, 1, True),
        ("on-failure:2", 3, 2, False),
        ("on-failure:2", 0, 0, False),
    ],
)
def test_a_policy_says_what_is_started_again(text: str, status: int, restarts: int, wanted: bool) -> None:
    assert RestartPolicy.parse(text).wants(status, restarts) is wanted


@pytest.mark.parametrize(
    "text",
    ["", "yes", "never", "ALWAYS", "always:3", "no:1", "on-failure:", "on-failure:0", "on-failure:-1", "on-failure:x", " always",
     "always\n", "on-failure:1٣", "on-failure:9999999999", "unless-stopped", None, True, 3],
)  # fmt: skip
def test_what_is_no_policy_is_refused_with_those_there_are(text: object) -> None:
    with pytest.raises(SpecError, match="is unknown") as caught:
        RestartPolicy.parse(text)

    assert "on-failure:N" in caught.value.hint


def test_waiting_doubles_up_to_a_second() -> None:
    backoff = Backoff()

    waits = [backoff.after(0.0) for _ in range(10)]

    assert waits[:7] == [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64]
    assert waits[7:] == [1.0, 1.0, 1.0]


def test_waiting_begins_anew_after_a_command_that_ran_for_ten_seconds() -> None:
    backoff = Backoff()
    for _ in range(5):
        backoff.after(9.9)

    assert backoff.after(10.0) == 0.01
    assert backoff.after(0.0) == 0.02
