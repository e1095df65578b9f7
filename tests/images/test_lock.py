"""The lock as a value and as text: what it pins, what it refuses to, and what is said then."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lxsandbox.errors import ImageError
from lxsandbox.images.documents import Platform
from lxsandbox.images.lock import Lock, check_lockable
from lxsandbox.images.references import RegistryReference, parse_reference

AMD64, ARM64 = Platform(architecture="amd64"), Platform(architecture="arm64", variant="v8")
ONE, TWO = (f"sha256:{digit * 64}" for digit in "12")
ALPINE = RegistryReference(repository="alpine", tag="3.20")
REDIS = RegistryReference(host="registry.example:5000", repository="redis")
TEXT = f"""\
# What each image is, for each platform. Written by `lxsandbox image lock`, which also brings it up to date.
version = 1

[image."alpine:3.20"]
"linux/amd64" = "{ONE}"
"linux/arm64/v8" = "{TWO}"

[image."registry.example:5000/redis:latest"]
"linux/amd64" = "{TWO}"
"""


def lock(tmp_path: Path, text: str = TEXT) -> Lock:
    (tmp_path / "lxsandbox.lock").write_text(text)
    return Lock.read(str(tmp_path / "lxsandbox.lock"))


def test_a_lock_is_sorted_text_that_is_read_back_as_the_same(tmp_path: Path) -> None:
    made = Lock(path=str(tmp_path / "lxsandbox.lock")).with_images({REDIS: {AMD64: TWO}, ALPINE: {ARM64: TWO, AMD64: ONE}})

    assert made.as_text() == TEXT
    assert lock(tmp_path) == made


def test_an_image_is_pinned_by_the_digest_for_the_platform(tmp_path: Path) -> None:
    assert str(lock(tmp_path).pinned(ALPINE, AMD64)) == f"docker.io/library/alpine:3.20@{ONE}"
    assert str(lock(tmp_path).pinned(ALPINE, Platform(architecture="aarch64"))) == f"docker.io/library/alpine:3.20@{TWO}"


@pytest.mark.parametrize(
    "text",
    [
        "host",
        f"alpine@{ONE}",
        "mmdebstrap:bookworm?mirror=http://snapshot.debian.org/archive/debian/20260101T000000Z",
        "mmdebstrap:bookworm?mirror=http://snapshot.example/20260101T000000Z/debian",
    ],
)
def test_what_cannot_change_needs_no_lock(tmp_path: Path, text: str) -> None:
    reference = parse_reference(text)

    assert Lock(path="/nowhere/lxsandbox.lock").pinned(reference, AMD64) == reference


def test_an_image_that_is_not_pinned_is_refused_with_the_command_that_adds_it(tmp_path: Path) -> None:
    empty = Lock.read(str(tmp_path / "no such" / "lxsandbox.lock"))

    with pytest.raises(ImageError, match=re.escape(f"image alpine:3.20 is not pinned in {empty.path}")) as caught:
        empty.pinned(ALPINE, AMD64)

    assert caught.value.hint == f"add it: `lxsandbox image lock --file '{empty.path}' alpine:3.20`"


def test_a_platform_that_is_missing_is_named_with_those_that_are_there(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"pinned in .* for linux/amd64, linux/arm64/v8, and not for linux/s390x") as caught:
        lock(tmp_path).pinned(ALPINE, Platform(architecture="s390x"))

    assert f"`lxsandbox image lock --file {tmp_path}/lxsandbox.lock alpine:3.20`" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("host", "it is this machine itself"),
        ("dir:/", "it is in a file or folder"),
        ("build:/", "what its steps fetch is something else another day"),
        ("mmdebstrap:bookworm", "it is made of the packages of the day"),
        ("mmdebstrap:bookworm?mirror=http://deb.debian.org/20260101T000000Zulu", "it is made of the packages of the day"),
    ],
)
def test_what_is_another_on_another_day_or_machine_cannot_be_locked(text: str, why: str) -> None:
    with pytest.raises(ImageError, match=f"cannot be locked: {why}") as caught:
        check_lockable(parse_reference(text))
    assert caught.value.hint

    if text != "host":
        with pytest.raises(ImageError, match=f"cannot be locked: {why}"):
            Lock(path="/nowhere").pinned(parse_reference(text), AMD64)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("version = 1\n<<<<<<< HEAD\n", "at line 2"),
        ('version = 1\nimage = "alpine"', "image is no table"),
        ('version = 1\n[image]\n"alpine:3.20" = "latest"', "image alpine:3.20 is no table"),
        (f'version = 1\n[image.Alpine]\n"linux/amd64" = "{ONE}"', "Alpine"),
        (f'version = 1\n[image.alpine]\namd64 = "{ONE}"', "'amd64' is not OS/ARCH"),
        ('version = 1\n[image.alpine]\n"linux/amd64" = "latest"', "digest 'latest' is not a digest"),
        (f'version = 1\n[image."dir:/"]\n"linux/amd64" = "{ONE}"', "dir:/ cannot be locked"),
        ("\udcff", "codec"),
    ],
)
def test_a_broken_lock_is_refused_with_the_place(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "lxsandbox.lock").write_bytes(text.encode("utf-8", "surrogateescape"))

    with pytest.raises(ImageError, match=f"lxsandbox.lock is no lock of images: .*{re.escape(why)}") as caught:
        Lock.read(str(tmp_path / "lxsandbox.lock"))

    assert "version control" in caught.value.hint


def test_a_lock_of_another_version_is_not_guessed_at(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"is of version 2, and 1 is read here") as caught:
        lock(tmp_path, "version = 2\n[pictures]\n")
    assert "update pytest-lxsandbox" in caught.value.hint
