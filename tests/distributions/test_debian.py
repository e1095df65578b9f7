"""Older and newer Debian than what the suite always runs over."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from images_real.debian import check_debian
from needs import needs

from lxsandbox import Sandbox

pytestmark = [
    *(needs("mmdebstrap", "user-namespaces", "overlayfs", "id-range"), pytest.mark.usefixtures("in_memory")),
    pytest.mark.timeout(600),
]


@pytest.mark.parametrize("suite", ["bullseye", "trixie"])
def test_other_suites_run(start: Callable[..., Sandbox], suite: str) -> None:
    box = start(f"mmdebstrap:{suite}")

    check_debian(box, suite)
    assert box.check_output(["apt-get", "--version"]).startswith("apt ")
