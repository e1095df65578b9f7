"""Manifests come from others: what is read of them is what the specification has, and anything else is refused by name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lxsandbox import ImageError
from lxsandbox.images.documents import (
    CONFIG_TYPE,
    LAYER_TYPE,
    Descriptor,
    Index,
    Manifest,
    Platform,
    parse_manifest,
)  # fmt: skip

DIGEST = "sha256:" + "0" * 64
DOCKER = "application/vnd.docker.distribution.manifest"


def entry(**changes: Any) -> dict[str, Any]:
    return {"mediaType": LAYER_TYPE, "digest": DIGEST, "size": 1, **changes}


def manifest(**changes: Any) -> bytes:
    return json.dumps({"schemaVersion": 2, "config": entry(mediaType=CONFIG_TYPE), "layers": [entry()], **changes}).encode()


def test_a_manifest_is_its_config_and_its_layers_lowest_first() -> None:
    parsed = parse_manifest(manifest(layers=[entry(size=1), entry(size=2)], annotations={"a": "b"}))

    assert isinstance(parsed, Manifest)
    assert [layer.size for layer in parsed.layers] == [1, 2]
    assert parsed.config.media_type == CONFIG_TYPE
    assert parsed.annotations == {"a": "b"}


def test_dockers_manifest_is_read_like_one_of_oci() -> None:
    parsed = parse_manifest(manifest(mediaType=f"{DOCKER}.v2+json"))

    assert isinstance(parsed, Manifest)


def test_an_index_has_an_image_for_each_platform() -> None:
    arm = entry(platform={"os": "linux", "architecture": "arm", "variant": "v7"})
    parsed = parse_manifest(json.dumps({"schemaVersion": 2, "manifests": [arm]}).encode())

    assert isinstance(parsed, Index)
    assert parsed.manifests[0].platform == Platform(os="linux", architecture="arm", variant="v7")
    assert str(parsed.manifests[0].platform) == "linux/arm/v7"


def test_what_its_source_calls_it_counts_where_it_says_nothing_itself() -> None:
    data = json.dumps({"schemaVersion": 2, "manifests": []}).encode()

    assert isinstance(parse_manifest(data, media_type=f"{DOCKER}.list.v2+json"), Index)


def test_what_is_written_is_read_back_and_always_the_same_bytes() -> None:
    layer = Descriptor(media_type=LAYER_TYPE, digest=DIGEST, size=5, annotations={"x": "ü"})
    first = Manifest(config=layer, layers=(layer, layer), annotations={"b": "1", "a": "2"})
    second = Manifest(config=layer, layers=(layer, layer), annotations={"a": "2", "b": "1"})
    index = Index(manifests=(Descriptor(media_type="m", digest=DIGEST, size=1, platform=Platform(architecture="amd64")),))

    assert parse_manifest(first.as_bytes()) == first
    assert first.as_bytes() == second.as_bytes()
    assert parse_manifest(index.as_bytes()) == index


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no JSON"),
        (b"[1]", "no JSON object"),
        (b"\xff", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b'{"schemaVersion": 1}', "schema version 1"),
        (manifest(mediaType="text/plain"), "no image"),
        (manifest(mediaType=5), "no text"),
        (manifest(layers={}), "layers is no list"),
        (manifest(layers=[entry()] * 501), "501 layers"),
        (manifest(layers=[entry(size=-1)]), "size -1"),
        (manifest(layers=[entry(size=True)]), "size True"),
        (manifest(layers=[entry(size=1 << 60)]), "size"),
        (manifest(layers=[entry(digest="sha256:../../x")]), "layer 0: digest"),
        (manifest(layers=[entry(mediaType="a\0b")]), "no text"),
        (manifest(layers=[entry(mediaType="\ud800")]), "no text"),
        (manifest(manifests=[]), "an index and a manifest"),
        (manifest(config=None), "config is no JSON object"),
        (manifest(annotations={"a": 1}), "annotations: 'a'"),
        (manifest(annotations={"\ud800": "a"}), "annotations: key .* is no text"),
        (manifest(layers=[entry(annotations={"a\0": "a"})]), "layer 0: annotations: key .* is no text"),
        (b" " * (4 << 20) + manifest(), "is of 419"),
    ],
)
def test_nonsense_is_refused_and_named(data: bytes, said: str) -> None:
    with pytest.raises(ImageError, match=said):
        parse_manifest(data, what="manifest of x")


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
NAMES = ["schemaVersion", "mediaType", "config", "layers", "manifests", "annotations", "digest", "size", "platform"]


@given(st.dictionaries(st.sampled_from(NAMES), ANYTHING), st.sampled_from(NAMES), ANYTHING)
@settings(max_examples=300, deadline=None)
def test_no_document_makes_anything_but_an_image_error(free: dict[str, Any], name: str, value: Any) -> None:
    for data in (free, {"schemaVersion": 2, **free}, {**json.loads(manifest()), name: value}):
        try:
            parse_manifest(json.dumps(data).encode())
        except ImageError:
            pass
