"""What `lxsandbox image` prints for programs: of one image, and of what went."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
from cli.test_image import describe, image, layers_of, mine, store, tree

from lxsandbox.image import Healthcheck
from lxsandbox.images.store import Store

__all__ = ["image", "mine", "store", "tree"]


@pytest.mark.parametrize(
    ("arguments", "name", "more"),
    [
        (("import", "{tree}", "team/app:1"), "team/app:1", {}),
        (("tag", "mine", "team/app:1"), "team/app:1", {}),
        (("export", "mine", "oci:{tmp}/layout:1"), "library/mine:latest", {"target": "oci:{tmp}/layout:1"}),
    ],
)
def test_what_concerns_one_image_says_which(
    image: Callable[..., str], mine: str, tree: Path, tmp_path: Path, arguments: tuple[str, ...], name: str, more: dict[str, str]
) -> None:
    command, *rest = (each.format(tree=tree, tmp=tmp_path) for each in arguments)

    told = json.loads(image(command, "--json", *rest))

    expected = {"name": name.removeprefix("library/"), "reference": f"docker.io/{name}", "digest": mine}
    assert told == {**expected, **{key: value.format(tmp=tmp_path) for key, value in more.items()}}


def test_rm_says_what_went(image: Callable[..., str], mine: str, store: Store) -> None:
    blobs, size = set(store.blobs.digests()), store.usage().bytes

    told = json.loads(image("rm", "--json", "mine"))

    assert (told["names"], set(told["blobs"]), told["layers"], told["bytes"]) == (["mine:latest"], blobs, [], size)


def test_inspect_says_how_the_image_is_run(image: Callable[..., str], mine: str, store: Store) -> None:
    check = Healthcheck(test=("CMD-SHELL", "true"), interval_seconds=2.5)
    layers = layers_of(store, mine)
    other = describe(store, *layers, history=[], exposed_ports=("5432/tcp",), healthcheck=check, labels={"a": "b"})
    store.tag("docker.io/library/told:latest", other)

    told = json.loads(image("inspect", "--json", "told"))

    assert (told["name"], told["platform"], told["entrypoint"]) == ("told:latest", "linux/amd64", [])
    assert (told["ports"], told["labels"]) == (["5432/tcp"], {"a": "b"})
    assert told["healthcheck"] == {**asdict(check), "test": ["CMD-SHELL", "true"]}
