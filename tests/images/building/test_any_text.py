"""Whatever a Containerfile says, it is planned or refused, and nothing else comes of it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lxsandbox.errors import ImageError
from lxsandbox.images.building.context import Context
from lxsandbox.images.building.planning import Planner, Start
from lxsandbox.images.building.stages import parse_containerfile
from lxsandbox.images.config import ImageConfig
from lxsandbox.images.documents import Platform

AMD64 = Platform(architecture="amd64")
WORDS = st.sampled_from(
    [
        *("FROM", "ARG", "ENV", "RUN", "COPY", "ADD", "WORKDIR", "USER", "CMD", "ENTRYPOINT", "EXPOSE", "VOLUME", "LABEL"),
        *("HEALTHCHECK", "STOPSIGNAL", "SHELL", "ONBUILD", "AS", "NONE", "scratch", "a", "file", "x=1", "0", "80-90/udp"),
        *("--from=a", "--chown=1:2", "--chmod=755", "--platform=linux/amd64", "--interval=5s", "# escape=`", "#", "\\"),
        *("<<EOF", "<<-'E O'", "9<<EOF", "EOF", '["a", "b"]', '["', "'", '"', "$x", "${x:-y}", "${x", "${x##*/}", "`", "..", "/"),
    ]
)
LINES = st.lists(WORDS | st.text(max_size=6), max_size=6).map(" ".join)


@pytest.fixture(scope="module")
def context() -> Iterator[Context]:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "file").write_text("content")
        with Context(folder) as files:
            yield files


@given(st.lists(LINES, max_size=8).map("\n".join) | st.text(max_size=80), st.booleans())
@settings(max_examples=1500, deadline=None)
def test_any_text_is_planned_or_refused(context: Context, text: str, begun: bool) -> None:
    whole = f"FROM scratch AS a\n{text}" if begun else text
    try:
        containerfile = parse_containerfile(whole, file="Containerfile", given={}, platform=AMD64)
        planner = Planner(containerfile, context, lambda _: Start(key="any", config=ImageConfig(platform=AMD64)))
        plan = planner.plan(containerfile.target(""))
    except ImageError:
        return
    assert len({step.key for step in plan.steps}) == len(plan.steps)
    plan.config.as_bytes()
