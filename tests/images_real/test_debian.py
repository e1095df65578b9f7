"""A Debian system, from its mirror to a sandbox."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from images_real.debian import check_debian
from needs import needs

from lxsandbox import Sandbox


@needs("mmdebstrap", "user-namespaces", "overlayfs", "id-range")
@pytest.mark.usefixtures("in_memory")
@pytest.mark.timeout(600)
def test_bookworm_runs(start: Callable[..., Sandbox]) -> None:
    check_debian(start("mmdebstrap:bookworm?variant=essential"), "bookworm")
