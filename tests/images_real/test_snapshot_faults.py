"""Snapshots when something goes wrong meanwhile, and when others use the store; and what other tools make of them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from events import until, wait_for_end
from images_real.conftest import Shelf
from needs import needs

from lxsandbox import ImageError, Sandbox, SandboxError
from lxsandbox.images.archives import export_layout
from lxsandbox.images.registry import Registry, push_image
from lxsandbox.images.store import Store
from lxsandbox.sandbox.connection import ServiceConnection

pytestmark = needs("user-namespaces", "overlayfs", "busybox")

Start = Callable[..., Sandbox]
MIB = 1 << 20


def sh(sandbox: Sandbox, script: str) -> str:
    return sandbox.check_output(["sh", "-ec", script])


@pytest.fixture
def base(shelf: Shelf) -> str:
    return shelf.layout("a")


def left_over(store: Path) -> list[str]:
    """What is neither a whole blob nor a whole layer."""
    parts = [str(path) for path in (store / "fetching").iterdir() if path.suffix != ".lock"]
    return parts + [str(path) for path in (store / "layers").glob("*/*.part")]


def test_snapshots_at_once_under_one_name_leave_one_of_them_whole(start: Start, store: Path, base: str) -> None:
    sandboxes = [start(base) for _ in range(6)]
    for number, sandbox in enumerate(sandboxes):
        sh(sandbox, f"echo {number} > /number; dd if=/dev/zero of=/big bs=1M count=4 2>/dev/null")

    with ThreadPoolExecutor(6) as threads:
        images = list(threads.map(lambda sandbox: sandbox.snapshot("contended"), sandboxes))

    named = Store(str(store)).named("docker.io/library/contended:latest")
    assert named is not None
    assert named.digest in [image.digest for image in images]
    assert [start(image.digest).path("/number").read_text() for image in images] == [f"{n}\n" for n in range(6)]
    assert left_over(store) == []


def test_a_service_that_is_killed_meanwhile_leaves_nothing_that_counts(store: Path, base: str) -> None:
    connection = ServiceConnection.open()
    sandbox = Sandbox(base, connection=connection, disk="200M")
    sh(sandbox, "dd if=/dev/urandom of=/big bs=1M count=64 2>/dev/null")
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(sandbox.snapshot, "never")
        until(lambda: list((store / "fetching").glob("new-*.part")), "the snapshot is being written")
        os.kill(connection.hello.pid, signal.SIGKILL)
        assert isinstance(asked.exception(20), SandboxError)
    wait_for_end(connection.hello.pid)
    with suppress(SandboxError):
        sandbox.close()
    with suppress(SandboxError):
        connection.leave()

    again = ServiceConnection.open()
    try:
        assert Store(str(store)).named("docker.io/library/never:latest") is None
        again.request("image_prune")
        assert left_over(store) == []
        with Sandbox(base, connection=again) as fresh:
            assert fresh.snapshot("sound").digest
    finally:
        again.leave()


@pytest.fixture
def small_store(store: Path) -> Iterator[Path]:
    """A store on a file system of 16 MiB."""
    store.parent.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m,mode=700", "tmpfs", store.parent], check=True)
    yield store
    subprocess.run(["umount", store.parent], check=True)


@needs("root")
def test_a_full_disk_is_told_and_nothing_is_left(small_store: Path, base: str) -> None:
    connection = ServiceConnection.open()
    try:
        with Sandbox(base, connection=connection) as sandbox:
            before = shutil.disk_usage(small_store.parent).used
            sh(sandbox, "dd if=/dev/urandom of=/big bs=1M count=20 2>/dev/null")
            with pytest.raises(ImageError, match="No space left on device"):
                sandbox.snapshot("large")
            assert left_over(small_store) == []
            assert shutil.disk_usage(small_store.parent).used < before + MIB

            sh(sandbox, "rm /big; echo x > /small")
            with Sandbox(sandbox.snapshot("small"), connection=connection) as after:
                assert after.path("/small").read_text() == "x\n"
    finally:
        connection.leave()


def test_prune_takes_nothing_that_a_fork_uses(start: Start, store: Path, base: str) -> None:
    first = start(base)
    sh(first, "echo x > /file")
    with first.fork() as second:
        Store(str(store)).prune(all=True)

        assert second.path("/file").read_text() == "x\n"
        assert start(second.spec.image).path("/file").read_text() == "x\n"


def test_after_the_run_what_has_no_name_may_go(store: Path, base: str) -> None:
    connection = ServiceConnection.open()
    with Sandbox(base, connection=connection) as sandbox:
        sh(sandbox, "echo x > /file")
        digest = sandbox.snapshot().digest
        sandbox.snapshot("kept")
        sh(sandbox, "echo y > /file")
        lost = sandbox.snapshot().digest
    connection.leave()

    again = ServiceConnection.open()
    try:
        again.request("image_prune")
        assert Store(str(store)).with_digest(digest) is not None
        assert Store(str(store)).with_digest(lost) is None
    finally:
        again.leave()


def test_a_sandbox_that_dies_meanwhile_says_so(start: Start, store: Path, base: str) -> None:
    sandbox = start(base, disk="200M")
    sh(sandbox, "dd if=/dev/urandom of=/big bs=1M count=64 2>/dev/null")
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(sandbox.snapshot)
        until(lambda: list((store / "fetching").glob("new-*.part")), "the snapshot is being written")
        sandbox.close()
        assert isinstance(asked.exception(20), SandboxError)
    assert left_over(store) == []


@needs("umoci", "root")
def test_umoci_unpacks_what_was_snapshotted(start: Start, store: Path, base: str, place: Path) -> None:
    sandbox = start(base)
    sh(
        sandbox,
        "echo x > /new; chmod 640 /new; chown 12:34 /new; ln /new /hard; ln -s new /soft; rm /text; rm -r /tmp; mkdir /tmp",
    )
    sandbox.snapshot("for-umoci")
    _export(store, "for-umoci", place / "out")

    subprocess.run(["umoci", "unpack", "--image", f"{place}/out:it", place / "bundle"], check=True, capture_output=True)

    root = place / "bundle" / "rootfs"
    status = (root / "new").lstat()
    assert (status.st_mode & 0o7777, status.st_uid, status.st_gid, status.st_nlink) == (0o640, 12, 34, 2)
    assert os.readlink(root / "soft") == "new"
    assert not (root / "text").exists()


@needs("skopeo")
@pytest.mark.parametrize("image", ["image", "host"])
@pytest.mark.parametrize("form", ["oci", "docker-archive"])
def test_skopeo_carries_it_away_and_back(start: Start, store: Path, base: str, place: Path, image: str, form: str) -> None:
    sandbox = start(base if image == "image" else "host")
    sh(sandbox, "echo x > /usr/new" if image == "host" else "echo x > /new")
    sandbox.snapshot("traveller")
    _export(store, "traveller", place / "out")

    copied = f"{form}:{place}/copied:team/it:1"
    subprocess.run(["skopeo", "copy", "-q", "--insecure-policy", f"oci:{place}/out:it", copied], check=True)

    again = start(copied)
    assert again.path("/usr/new" if image == "host" else "/new").read_text() == "x\n"
    assert again.path("/usr/bin/env" if image == "host" else "/text").exists()


@needs("docker-registry")
def test_a_registry_does_not_choose_to_have_the_files_of_the_host(start: Start, store: Path, registry: str) -> None:
    sandbox = start("host")
    sh(sandbox, "echo x > /usr/new")
    image = sandbox.snapshot("traveller")
    kept = Store(str(store))
    descriptor = kept.with_digest(image.digest)
    assert descriptor is not None
    with Registry(registry, credentials=lambda name, where: None) as there:
        push_image(there, "team/evil", "1", descriptor, kept.blobs)

    with pytest.raises(ImageError, match="comes from a registry"):
        start(f"{registry}/team/evil:1")
    assert kept.named(f"{registry}/team/evil:1") is None


def _export(store: Path, name: str, folder: Path) -> None:
    kept = Store(str(store))
    export_layout(kept.names()[f"docker.io/library/{name}:latest"], kept.blobs, str(folder), "it")
