"""Names of images as `docker save` has them."""

from __future__ import annotations

import pytest

from lxsandbox import ImageError
from lxsandbox.images.archives.references import familiar


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("alpine", "alpine:latest"),
        ("docker.io/library/alpine:3.20", "alpine:3.20"),
        ("library/alpine", "alpine:latest"),
        ("docker.io/user/tool:1", "user/tool:1"),
        ("library/a/b", "library/a/b:latest"),
        ("localhost:5000/library/x", "localhost:5000/library/x:latest"),
        ("ghcr.io/a__b/c-d.e:V1_x", "ghcr.io/a__b/c-d.e:V1_x"),
    ],
)
def test_a_name_is_shown_as_docker_shows_it(name: str, short: str) -> None:
    assert familiar(name) == short


@pytest.mark.parametrize("name", ["", ":1", "UPPER", "a//b", "a:", "a:b c", "-a", "a@sha256:0", "a\n", "a/../b", "a" * 600])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ImageError, match="is no name of an image"):
        familiar(name)
