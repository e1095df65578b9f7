"""Every Python block of the README and the guide runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from needs import lacks, must_run

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "guide").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# What a block asks for, and what the host must have for it.
NEEDS = {
    "memory=": "cgroup-memory",
    "pids=": "cgroup-pids",
    "user=": "id-range",
    "networks=": "veth",
    "egress=": "egress",
    "partition(": "nftables",
    "shape(": "nftables",
    '"rm"': "id-range",
    '"busybox"': "busybox",
}


def blocks(page: Path) -> list[str]:
    return BLOCK.findall(page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.stem)
def test_the_examples_of_a_page_run(page: Path, pytester: pytest.Pytester) -> None:
    for number, block in enumerate(blocks(page)):
        _skip_unless_possible(block)
        pytester.makepyfile(**{f"test_block_{number}": block})
    result = pytester.runpytest_subprocess("-v")
    result.assert_outcomes(passed=sum(block.count("\ndef test_") for block in blocks(page)))
    assert not re.search(r"leaked: .*[1-9]\d* (process|mount|cgroup|link)", result.stdout.str())


def _skip_unless_possible(block: str) -> None:
    for text, capability in NEEDS.items():
        if text in block and lacks(capability) and not must_run():
            pytest.skip(lacks(capability))
