"""References to a registry are read as others read them: skopeo itself, and the grammar of the distribution project."""

from __future__ import annotations

import json
import re
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from needs import needs

from lxsandbox import ImageError
from lxsandbox.images.blobs import Blobs
from lxsandbox.images.documents import CONFIG_TYPE, Descriptor, Index, Manifest
from lxsandbox.images.registry_reference import RegistryReference, parse_registry_reference

SHA256, SHA512 = "sha256:" + "ab" * 32, "sha512:" + "cd" * 64
TAGGED = [
    "alpine", "alpine:3.20", "docker.io/alpine", "docker.io/library/alpine:1", "index.docker.io/alpine", "owner/name",
    "a/b/c/d:e", "docker.io/owner/name:1", "index.docker.io/owner/name:1", "localhost/x", "localhost:5000/x",
    "localhost:5000/x:1", "localhost", "localhost:5000", "example.com/x", "example.com:80/x/y:z", "10.0.0.1:5000/x",
    "foo:1/x", "foo.bar", "x-y.example.com/a", "a.b/c", "a_b", "a__b", "a-b", "a--b", "a---b", "a.b", "0", "0/1:2",
    "a/b_c/d.e-f", "library/alpine", "docker.io/library/a/b", "a:_", "a:A.b-c_D", "a:latest", "tar:1", "host",
    "docker:27", "a:" + "t" * 128, "r" * 100 + "/" + "s" * 100,
]  # fmt: skip
WITH_DIGEST = [f"alpine@{SHA256}", f"ghcr.io/x/y@{SHA256}", f"localhost:5000/x@{SHA256}", f"a/b@{SHA512}"]
REFUSED = [
    "Alpine", "a/B", "a:", "a@", ":a", "@a", "/a", "a/", "a//b", "-a", "a-", ".a", "a.", "_a", "a_", "a..b", "a._b",
    "a___b", "a b", "a:b:c", "a:b/c/d", "a:.b", "a:-b", "a:t/u", "a:ü", "ü", "a\n", "a:b\n", "foo:bar/x", "foo.com:/x",
    "-foo.com/x", "foo-.com/x", "foo..com/x", ".com/x", "a@sha256", "a@sha256:", "a@sha256:ab", f"a@{SHA256}0",
    f"a@{SHA256.upper()}", "a@md5:" + "ab" * 16, "ab" * 32, "a:" + "t" * 129, "r" * 256,
]  # fmt: skip


def ours(text: str) -> RegistryReference | None:
    try:
        return parse_registry_reference(text)
    except ImageError:
        return None


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image with no layers in a folder, for skopeo to copy."""
    folder = tmp_path_factory.mktemp("layout")
    blobs = Blobs(str(folder))

    def stored(data: bytes, media_type: str) -> Descriptor:
        return Descriptor(media_type=media_type, digest=blobs.add(data), size=len(data))

    config = stored(b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}', CONFIG_TYPE)
    manifest = Manifest(config=config, layers=())
    index = Index(manifests=(stored(manifest.as_bytes(), manifest.media_type),))
    (folder / "index.json").write_bytes(index.as_bytes())
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return folder


def skopeo(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["skopeo", "--insecure-policy", "copy", *args], capture_output=True, text=True, timeout=60, check=False)


def skopeo_takes(text: str) -> bool:
    # It reads both names before it does anything, and the second is none: nothing is asked of any network.
    said = skopeo(f"docker://{text}", "no-such-transport:").stderr
    assert ("Invalid source name" in said) != ("Invalid destination name" in said), said
    return "Invalid destination name" in said


@needs("skopeo")
def test_skopeo_fills_in_the_same(layout: Path, tmp_path: Path) -> None:
    found: dict[str, str] = {}
    for text in TAGGED:
        file = tmp_path / "image.tar"
        skopeo(f"oci:{layout}", f"docker-archive:{file}:{text}").check_returncode()
        with tarfile.open(file) as archive:
            (entry,) = json.load(archive.extractfile("manifest.json") or pytest.fail("no manifest.json"))
        (found[text],) = entry["RepoTags"]
        file.unlink()

    assert found == {text: str(ours(text)) for text in TAGGED}


@needs("skopeo")
def test_skopeo_takes_and_refuses_the_same() -> None:
    texts = [*TAGGED, *WITH_DIGEST, *REFUSED]

    assert {text: skopeo_takes(text) for text in texts} == {text: ours(text) is not None for text in texts}


# Written out from the grammar at the head of https://github.com/distribution/reference/blob/main/reference.go.
DOMAIN_COMPONENT = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
DOMAIN = rf"(?:{DOMAIN_COMPONENT}(?:\.{DOMAIN_COMPONENT})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
PATH_COMPONENT = r"[a-z0-9]+(?:(?:[_.]|__|[-]+)[a-z0-9]+)*"
PATH = rf"{PATH_COMPONENT}(?:/{PATH_COMPONENT})*"
GRAMMAR = re.compile(
    rf"(?:({DOMAIN})/)?({PATH})(?::([A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}}))?(?:@(sha256:[0-9a-f]{{64}}|sha512:[0-9a-f]{{128}}))?"
)
# What the grammar leaves to whoever connects: a port that there is, an address that is one.
PORT = re.compile(r":(?:[1-9][0-9]{0,3}|[1-5][0-9]{4})$")


def by_the_grammar(text: str) -> str | None:
    """The canonical text; None for what is refused. For texts with no digits above 5 in a port, and no address in brackets."""
    first, slash, _ = text.partition("/")
    named = slash and (set(first) & set(".:") or first.lower() == "localhost")
    found = GRAMMAR.fullmatch(text if named else f"docker.io/{text}")
    if found is None or found[1] is None or (":" in found[1] and not PORT.search(found[1])):
        return None
    domain, path, tag, digest = found.groups()
    domain = domain.lower()
    path = f"library/{path}" if domain == "docker.io" and "/" not in path else path
    tag = tag or ("" if digest else "latest")
    return f"{domain}/{path}" + (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")


PIECES = st.sampled_from(
    ["a", "b", "0", "5", "A", ".", "-", "_", ":", "/", "@", "localhost", "docker.io", SHA256, SHA512, "\n", "é"]
)
LIKELY = st.from_regex(r"\A([a-z]{1,2}(\.[a-z]|:[0-5]{1,5})/)?[a-z0-5._/-]{1,8}(:[A-Za-z0-5._-]{1,4})?\Z")


@given(st.lists(PIECES, max_size=9).map("".join) | LIKELY)
@example("")
@example("a\n")
@settings(max_examples=1000, deadline=None)
def test_the_grammar_of_the_distribution_project_has_it_the_same(text: str) -> None:
    found = ours(text)

    assert (found and str(found)) == by_the_grammar(text)


def test_the_list_is_read_by_the_grammar_as_by_us() -> None:
    # Outside of it are ids, lengths, and the older name of a host.
    texts = [t for t in (*TAGGED, *WITH_DIGEST, *REFUSED) if t not in ("ab" * 32, "r" * 256) and not t.startswith("index.")]

    assert {text: by_the_grammar(text) for text in texts} == {text: (found := ours(text)) and str(found) for text in texts}


def test_a_host_that_is_none_is_no_part_of_a_path_either() -> None:
    # The distribution project reads this as a repository on no host at all, which nobody can ask for.
    with pytest.raises(ImageError, match="its part 'foo_bar' has '_'"):
        parse_registry_reference("foo_bar.com/x")
