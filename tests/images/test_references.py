"""A reference is what container tools take it for; it has one canonical text; anything else is refused with its fault named."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lxsandbox import ImageError
from lxsandbox.images.references import (
    PARSERS,
    BuildReference,
    DebianReference,
    DigestReference,
    DockerArchiveReference,
    HostReference,
    LayoutReference,
    PathReference,
    Reference,
    RegistryReference,
    parse_reference,
)
from lxsandbox.images.registry_reference import TRANSPORT_WORDS

DIGEST = "sha256:" + "ab" * 32


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a file `a.tar` and a folder `layout`."""
    (tmp_path / "a.tar").touch()
    (tmp_path / "layout").mkdir()
    return tmp_path


def read(text: str, base: Path | str = "/") -> Reference:
    return parse_reference(text, base=str(base), must_exist=False)


@pytest.mark.parametrize(
    ("text", "canonical", "familiar"),
    [
        ("host", "host", "host"),
        ("alpine", "docker.io/library/alpine:latest", "alpine:latest"),
        ("alpine:3.20", "docker.io/library/alpine:3.20", "alpine:3.20"),
        ("docker://alpine:3.20", "docker.io/library/alpine:3.20", "alpine:3.20"),
        ("docker:27-dind", "docker.io/library/docker:27-dind", "docker:27-dind"),
        ("index.docker.io/alpine:1", "docker.io/library/alpine:1", "alpine:1"),
        ("registry-1.docker.io/owner/name:1", "docker.io/owner/name:1", "owner/name:1"),
        ("Docker.IO/owner/name:1", "docker.io/owner/name:1", "owner/name:1"),
        (f"alpine@{DIGEST}", f"docker.io/library/alpine@{DIGEST}", f"alpine@{DIGEST}"),
        (f"ghcr.io/x/y:1@{DIGEST}", f"ghcr.io/x/y:1@{DIGEST}", f"ghcr.io/x/y:1@{DIGEST}"),
        ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
        ("localhost:5000/x", "localhost:5000/x:latest", "localhost:5000/x:latest"),
        ("builder:80/x/y:1", "builder:80/x/y:1", "builder:80/x/y:1"),
        ("[2001:DB8::1]:5000/x:1", "[2001:db8::1]:5000/x:1", "[2001:db8::1]:5000/x:1"),
        ("[::1]/x:1", "[::1]/x:1", "[::1]/x:1"),
        # A registry may be called as a transport is.
        ("docker://build:5000/x:1", "docker://build:5000/x:1", "docker://build:5000/x:1"),
        ("docker://host:1/x", "docker://host:1/x:latest", "docker://host:1/x:latest"),
        ("docker-archive:/x:build:5000/a", "docker-archive:/x:build:5000/a:latest", "docker-archive:/x:build:5000/a:latest"),
        # What would be read as something else when it were short keeps its host.
        ("docker.io/library/tar:1", "docker.io/library/tar:1", "docker.io/library/tar:1"),
        ("docker.io/localhost/x:1", "docker.io/localhost/x:1", "docker.io/localhost/x:1"),
        ("docker.io/library/a/b:1", "docker.io/library/a/b:1", "library/a/b:1"),
        (
            "mmdebstrap:bookworm?include=redis,postgresql,redis",
            "mmdebstrap:bookworm?components=main&include=postgresql,redis&variant=minbase",
            "mmdebstrap:bookworm?include=postgresql,redis",
        ),
        (
            "mmdebstrap:sid?mirror=HTTP://Deb.Debian.org:80/debian/&components=main,contrib&variant=buildd&check-valid-until=no",
            "mmdebstrap:sid?check-valid-until=no&components=contrib,main&mirror=http://deb.debian.org:80/debian&variant=buildd",
            "mmdebstrap:sid?check-valid-until=no&components=contrib,main&mirror=http://deb.debian.org:80/debian&variant=buildd",
        ),
        ("dir:/srv//root/../x/", "dir:/srv/x", "dir:/srv/x"),
        ("docker-archive:/x:alpine", "docker-archive:/x:docker.io/library/alpine:latest", "docker-archive:/x:alpine:latest"),
        ("docker-archive:/x.tar:@3", "docker-archive:/x.tar:@3", "docker-archive:/x.tar:@3"),
    ],
)  # fmt: skip
def test_a_reference_has_one_canonical_text_and_a_short_one(text: str, canonical: str, familiar: str) -> None:
    parsed = read(text)

    assert str(parsed) == canonical
    assert parsed.familiar() == familiar
    assert read(canonical) == read(familiar) == parsed


def test_the_parts_of_a_registry_reference() -> None:
    parsed = read(f"ghcr.io:443/owner/name:1.0@{DIGEST}")

    assert parsed == RegistryReference(host="ghcr.io:443", repository="owner/name", tag="1.0", digest=DIGEST)
    assert parsed.transport == "docker"


def test_one_made_of_its_parts_is_filled_in_and_checked_as_one_read() -> None:
    assert RegistryReference(repository="alpine") == read("alpine")
    with pytest.raises(ImageError, match="upper-case 'A'"):
        RegistryReference(repository="Alpine")


def test_references_are_values() -> None:
    parsed = read("alpine")

    assert {parsed, read("docker.io/library/alpine:latest")} == {parsed}
    assert pickle.loads(pickle.dumps(parsed)) == parsed


def test_files_and_folders_are_below_the_base_or_a_home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))

    assert parse_reference("tar:a.tar", base=str(folder)) == PathReference(transport="tar", path=f"{folder}/a.tar")
    assert parse_reference("tar:~/a.tar") == PathReference(transport="tar", path=f"{folder}/a.tar")
    assert parse_reference("oci:layout", base=str(folder)) == LayoutReference(transport="oci", path=f"{folder}/layout")
    assert parse_reference("build:layout", base=str(folder)) == BuildReference(path=f"{folder}/layout")
    assert str(read("dir://srv")) == "dir:/srv"


def test_options_of_a_build_follow_the_path(folder: Path) -> None:
    parsed = parse_reference("build:layout?target=test&file=a.tar&arg=A=1 2&arg=B=x%26y", base=str(folder))

    assert parsed == BuildReference(
        path=f"{folder}/layout", file=f"{folder}/layout/a.tar", target="test", args=("A=1 2", "B=x&y")
    )
    with pytest.raises(ImageError, match=r"option 'stage' is none of build:"):
        parse_reference("build:layout?stage=x", base=str(folder))


def test_a_path_with_a_question_mark_that_is_there_is_a_path(folder: Path) -> None:
    (folder / "what?target=x").mkdir()

    assert parse_reference("build:what?target=x", base=str(folder)) == BuildReference(path=f"{folder}/what?target=x")


@pytest.mark.parametrize("text", ["oci:layout:v1", "oci-archive:a.tar:v1", "oci:layout:alpine:3.20", "oci-archive:a.tar:x/y:z:1"])
def test_a_tag_follows_the_path(folder: Path, text: str) -> None:
    transport, path, tag = text.split(":", 2)

    assert parse_reference(text, base=str(folder)) == LayoutReference(transport=transport, path=f"{folder}/{path}", tag=tag)  # type: ignore[arg-type]


def test_of_colons_in_a_path_and_before_a_tag_what_exists_decides(folder: Path) -> None:
    for name in ("a", "b:c", "d", "d:e", "f", "f:g:h"):
        (folder / name).mkdir()
    expected = {
        "a:c": ("a", "c"),  # the part before exists
        "b:c": ("b:c", ""),  # the whole exists, and the part before does not
        "b:c:v": ("b:c", "v"),
        "d:e": ("d", "e"),  # both exist
        "d:e:": ("d:e", ""),  # a colon at the end says that there is no tag
        "d:e:v": ("d:e", "v"),
        "f:g:h": ("f:g:h", ""),
        "f:g:x": ("f", "g:x"),
        "new:v": ("new", "v"),  # nothing exists
        "new:alpine:3.20": ("new", "alpine:3.20"),  # as skopeo has it
    }
    for text, (path, tag) in expected.items():
        parsed = read(f"oci:{text}", folder)

        assert parsed == LayoutReference(transport="oci", path=f"{folder}/{path}", tag=tag), text
        assert read(str(parsed)) == parsed


def test_an_image_of_docker_save_is_named_or_counted(folder: Path) -> None:
    file, image = f"{folder}/a.tar", RegistryReference(repository="alpine", tag="3.20")

    assert parse_reference(f"docker-archive:{file}") == DockerArchiveReference(path=file)
    assert parse_reference(f"docker-archive:{file}:alpine:3.20") == DockerArchiveReference(path=file, image=image)
    assert parse_reference(f"docker-archive:{file}:@1") == DockerArchiveReference(path=file, index=1)


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        ("dir:a.tar", "a.tar is not a folder", "holds a root file system"),
        ("tar:layout", "layout is not a file", "gz, xz, bz2 and zst"),
        ("tar:none", "none is not a file", "gz, xz, bz2 and zst"),
        ("oci:a.tar", "a.tar is not a folder", "oci-archive:FILE"),
        ("oci:none:v1", "none is not a folder", "OCI image layout"),
        ("oci-archive:layout", "layout is not a file", "oci:DIR"),
        ("docker-archive:none:alpine:1", "none is not a file", "docker save"),
        ("build:none", "none is not a file or folder", "Containerfile"),
    ],
)
def test_what_is_not_there_is_said_with_what_should_be(folder: Path, text: str, said: str, hint: str) -> None:
    with pytest.raises(ImageError) as caught:
        parse_reference(text, base=str(folder))

    assert caught.value.message == f"image {text!r}: {folder}/{said}"
    assert hint in caught.value.hint


def test_a_path_that_is_not_there_does_nothing_to_a_terminal() -> None:
    with pytest.raises(ImageError, match=r"no\\x1b\[2J' is not a file") as caught:
        parse_reference("tar:no\x1b[2J")

    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        ("", "it is empty", "an image is one of host, NAME[:TAG]"),
        ("a\0b", "NUL", ""),
        ("a\ud800", "is no text", ""),
        (":", "nothing is before its colon", "dir:PATH"),
        ("Foo/bar:X", "component 'Foo' of repository 'Foo/bar' has the upper-case 'F'", "lower case: foo/bar"),
        ("a b", "component 'a b' of repository 'a b' has ' '", "a-z, 0-9"),
        ("ünicode", "has 'ü'", "a-z, 0-9"),
        ("a/-b", "component '-b' of repository 'a/-b' begins with '-'", "begins and ends"),
        ("a/b_", "ends with '_'", "begins and ends"),
        ("a..b", "has '..'", "one '.', '_', '__'"),
        ("a___b", "has '___'", "one '.', '_', '__'"),
        ("a//b", "empty component", "no //"),
        ("a/", "empty component", "no //"),
        ("ghcr.io/", "names no repository", "ghcr.io/owner/name"),
        ("a:", "its tag is empty", "leave the colon out"),
        ("a@", "its digest is empty", "leave the @ out"),
        ("a:.b", "tag '.b' begins with '.'", "up to 128"),
        ("a:b\n", r"tag 'b\n' has '\n'", "up to 128"),
        ("a:" + "b" * 129, "is of 129 characters", "up to 128"),
        ("a@sha256:AB", "digest 'sha256:AB' is not a digest", "64 hexadecimal"),
        (f"a@md5:{'a' * 32}", "is not a digest", "64 hexadecimal"),
        ("a" * 238, "its name is of 256 characters, and 255 are the most", ""),
        ("ab" * 32, "id of an image", "NAME@sha256:abab"),
        ("foo:bar/baz", "port 'bar' of host 'foo:bar' is none", "HOST:PORT"),
        ("foo:/baz", "no transport 'foo'", "dir:PATH"),
        ("foo:65536/x", "port '65536'", "1 to 65535"),
        ("foo_bar.com/x", "its part 'foo_bar' has '_'", "example.com"),
        ("foo-.com/x", "its part 'foo-' is empty, or begins or ends with '-'", "example.com"),
        ("foo..com/x", "its part '' is empty", "example.com"),
        ("[fe80::1%eth0]/x", "no IPv6 address in brackets", "no zone"),
        ("[1:2]/x", "no IPv6 address", "[2001:db8::1]"),
        ("host:", "nothing follows `host`", "host alone"),
        ("DIR:/tmp", "no transport 'DIR'", "did you mean dir:/tmp?"),
        ("Tar:x.tar", "no transport 'Tar'", "did you mean tar:x.tar?"),
        ("oci-archve:./x", "no transport 'oci-archve'", "did you mean oci-archive:./x?"),
        ("docker:/alpine", "no transport 'docker'", "did you mean docker://alpine?"),
        ("qcow2:~/disk", "no transport 'qcow2'", "an image is one of host"),
        ("docker-daemon:alpine", "of other tools", "docker save"),
        ("https://ghcr.io/x", "web page", "ghcr.io/x"),
        ("./rootfs", "a path needs its transport", "dir:./rootfs"),
        ("dir:", "names no path", "after the colon"),
        ("oci::v", "names no path", "after the colon"),
        ("oci:/x:-v", "tag '-v' is none of an image layout", "ref.name"),
        (f"docker-archive:/x:a@{DIGEST}", "no digest", "FILE:@INDEX"),
        ("docker-archive:/x:@-1", "'@-1' is no index", "@0"),
        ("docker-archive:/x:A", "upper-case 'A'", "lower case"),
        ("mmdebstrap:", "suite '' is empty", "mmdebstrap:bookworm"),
        ("mmdebstrap:--help", "suite '--help' is no name", "mmdebstrap:bookworm"),
        ("mmdebstrap:a b", "suite 'a b' has ' '", "mmdebstrap:bookworm"),
        ("mmdebstrap:sid?", "option '' is none", "include="),
        ("mmdebstrap:sid?inclde=a", "option 'inclde=a' is none", "did you mean include"),
        ("mmdebstrap:sid?include", "option 'include' is none", "include="),
        ("mmdebstrap:sid?include=", "package '' is empty", "Policy 5.6.1"),
        ("mmdebstrap:sid?include=aa,,bb", "package '' is empty", "Policy 5.6.1"),
        ("mmdebstrap:sid?include=aa&include=bb", "include= is given twice", "include=aa,bb"),
        ("mmdebstrap:sid?variant=minbse", "variant 'minbse'", "did you mean minbase?"),
        ("mmdebstrap:sid?components=", "component '' is empty", "main,contrib"),
        ("mmdebstrap:sid?check-valid-until=false", "neither yes nor no", ""),
        ("mmdebstrap:sid?mirror=", "mirror= is empty", "deb.debian.org"),
        ("mmdebstrap:sid?mirror=http://u:p@h/debian", "not an http or https address", "no query, user or password"),
    ],
)
def test_what_is_wrong_is_named_with_the_nearest_right_form(text: str, said: str, hint: str) -> None:
    with pytest.raises(ImageError) as caught:
        parse_reference(text)

    assert caught.value.message.startswith(f"image {text!r:.300}: ")
    assert said in caught.value.message
    assert hint in caught.value.hint


# mmdebstrap and apt read each of these as something other than the name of a package, component or mirror.
@pytest.mark.parametrize(
    "package", ["-x", "--purge", "./x.deb", "/x.deb", "aa-", "aa=1", "aa/sid", "aa:i386", "?essential", "~n", "a*", "a"]
)
def test_no_package_becomes_an_option_or_a_pattern(package: str) -> None:
    with pytest.raises(ImageError, match="package"):
        parse_reference(f"mmdebstrap:bookworm?include=hello,{package}")


@pytest.mark.parametrize(
    "mirror", ["-", "deb http://x y", "/etc/passwd", "file:///srv", "http://h/ x", "http://h/a?b", "http:///x"]
)
def test_no_mirror_becomes_a_file_or_a_line_of_sources(mirror: str) -> None:
    with pytest.raises(ImageError):
        parse_reference(f"mmdebstrap:bookworm?mirror={mirror}")


def test_the_names_of_packages_may_have_what_debian_lets_them() -> None:
    parsed = read("mmdebstrap:bookworm-backports?include=libstdc++6,g++,0ad,python3.11,xz-utils")

    assert parsed == DebianReference(suite="bookworm-backports", include=("0ad", "g++", "libstdc++6", "python3.11", "xz-utils"))


def test_every_transport_is_a_word_that_no_short_text_begins_with() -> None:
    assert set(PARSERS) - {"docker"} < TRANSPORT_WORDS


LAYOUTS, PLAIN = ("oci", "oci-archive"), ("dir", "tar")
ALNUM = "abcz09"
COMPONENTS = st.lists(st.text(ALNUM, min_size=1, max_size=4), min_size=1, max_size=3).flatmap(
    lambda words: st.sampled_from([".", "_", "__", "-", "---"]).map(lambda separator: separator.join(words))
)
REPOSITORIES = st.lists(COMPONENTS | st.sampled_from(["library", "localhost", "tar", "host"]), min_size=1, max_size=4).map(
    "/".join
)
HOSTS = st.sampled_from(["docker.io", "index.docker.io", "ghcr.io", "localhost", "localhost:5000", "a:1", "10.0.0.1", "[::1]:80"])
TAGS = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", fullmatch=True)
REGISTRY = st.builds(
    RegistryReference, host=HOSTS, repository=REPOSITORIES, tag=st.just("") | TAGS, digest=st.sampled_from(["", DIGEST])
)
# Below a folder that is not there: with nothing existing, a colon in a path could not be told from that before a tag.
PATHS = st.lists(st.text(min_size=1, max_size=5).filter(lambda name: not set(name) & set("/:\0")), max_size=3).map(
    lambda names: os.path.normpath("/".join(["/no-such-folder", *names]))
).filter(lambda path: path.startswith("/no-such-folder"))  # fmt: skip
PACKAGES = st.lists(st.from_regex(r"[a-z0-9][a-z0-9+.-]{0,8}[a-z0-9+.]", fullmatch=True), max_size=4).map(tuple)
TEXTS = st.text(max_size=5).filter(lambda text: "\0" not in text)
REFERENCES = (
    REGISTRY
    | st.just(HostReference())
    | st.builds(PathReference, transport=st.sampled_from(PLAIN), path=PATHS)
    | st.builds(
        LayoutReference, transport=st.sampled_from(LAYOUTS), path=PATHS, tag=st.sampled_from(["", "v1", "alpine:3.20", "a/b"])
    )
    | st.builds(DockerArchiveReference, path=PATHS, image=st.none() | REGISTRY.filter(lambda reference: not reference.digest))
    | st.builds(DockerArchiveReference, path=PATHS, index=st.integers(0, 99))
    | st.builds(
        BuildReference,
        path=PATHS,
        file=st.just("") | PATHS,
        target=TEXTS,
        args=st.lists(st.builds("{}={}".format, st.sampled_from(["A", "b_1"]), TEXTS), max_size=2).map(tuple),
    )
    | st.builds(
        DebianReference,
        suite=st.sampled_from(["bookworm", "sid", "trixie-backports"]),
        include=PACKAGES,
        variant=st.sampled_from(["minbase", "apt"]),
        components=st.sampled_from([("main",), ("non-free-firmware", "main")]),
        mirror=st.sampled_from(["", "http://deb.debian.org/debian", "https://[::1]:8080"]),
        check_valid_until=st.booleans(),
    )
)


@given(REFERENCES)
@settings(max_examples=400, deadline=None)
def test_every_text_of_a_reference_is_read_back_as_the_same(reference: Reference) -> None:
    assert read(str(reference)) == reference
    assert read(reference.familiar()) == reference
    assert str(read(reference.familiar())) == str(reference)


PIECES = st.sampled_from(
    [*PARSERS, "host", "docker://", ":", "/", "//", "@", "?", "&", "=", ",", "[", "]", ".", "..", "-", "~", DIGEST]
)
PIECES |= st.sampled_from(["include", "mirror", "http://x", "sha256:", "localhost", "5000", "A", "a", "\n", "ü"])


@given(st.text(max_size=40) | st.text(st.characters(), max_size=20) | st.lists(PIECES, max_size=8).map("".join), st.booleans())
@settings(max_examples=1000, deadline=None)
def test_any_text_is_a_reference_or_an_image_error(text: str, must_exist: bool) -> None:
    try:
        parsed = parse_reference(text, must_exist=must_exist)
    except ImageError:
        return
    assert parse_reference(str(parsed), must_exist=must_exist) == parsed
    assert parse_reference(parsed.familiar(), must_exist=must_exist) == parsed


def test_a_digest_alone_is_an_image_of_the_store() -> None:
    assert read(DIGEST) == DigestReference(digest=DIGEST)
    assert str(read(DIGEST)) == read(DIGEST).familiar() == DIGEST
    assert isinstance(read(f"name@{DIGEST}"), RegistryReference)
    assert isinstance(read(f"docker://{DIGEST}"), RegistryReference)
    assert read(read(f"docker://{DIGEST}").familiar()) == read(f"docker://{DIGEST}")
