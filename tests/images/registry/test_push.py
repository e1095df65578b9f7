"""Pushing to a real registry: what others pull is what was pushed, and nothing is sent that need not be."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from images.registry.conftest import QUICK
from images.registry.fault_proxy import Exchange, Fault, FaultProxy, Reply, answer, changed_header, hung_up, running_proxy
from images.registry.servers import LOGIN, Image, image_of, index_of, publish
from images.registry.test_pull import Told
from needs import needs

from lxsandbox import ImageError
from lxsandbox.images.blobs import Blobs
from lxsandbox.images.digests import digest_of
from lxsandbox.images.documents import CONFIG_TYPE, LAYER_TYPE, Descriptor, Manifest, Platform
from lxsandbox.images.registry import Credentials, Registry, RegistryError, pull_image, push_image

pytestmark = needs("docker-registry")

AMD64 = Platform(architecture="amd64")
CHUNK = 100_000


def store(blobs: Blobs, image: Image) -> None:
    for child in image.children:
        store(blobs, child)
    for data in (*image.blobs.values(), image.data):
        blobs.add(data)


@pytest.fixture
def image(blobs: Blobs) -> Image:
    """A new one for each test, in the store: what a registry has already is not sent."""
    made = image_of(os.urandom(250_000), os.urandom(10))
    store(blobs, made)
    return made


def layer_of(image: Image) -> str:
    return next(digest for digest, data in image.blobs.items() if len(data) == 250_000)


def check(host: str, repository: str, tag: str, image: Image, tmp_path: Path) -> None:
    """Somebody with an empty store gets all of it."""
    fresh = Blobs(str(tmp_path / "fresh"))
    with Registry(host, credentials=lambda host, repository: None, patience=QUICK) as registry:
        assert pull_image(registry, repository, tag, fresh, AMD64) == image.descriptor
    assert all(fresh.has(digest) for digest in image.blobs)


def test_what_was_pushed_is_pulled(registry: Registry, proxy: FaultProxy, blobs: Blobs, image: Image, tmp_path: Path) -> None:
    push_image(registry, "team/pushed", "1.0", image.descriptor, blobs)

    check(proxy.upstream, "team/pushed", "1.0", image, tmp_path)


def test_what_the_registry_has_is_not_sent(registry: Registry, proxy: FaultProxy, blobs: Blobs, image: Image) -> None:
    publish(proxy.upstream, "team/there", "1.0", image)
    told = Told()

    push_image(registry, "team/there", "2.0", image.descriptor, blobs, progress=told)

    assert not told.begun
    assert proxy.count("POST", "") == 0
    assert proxy.count("PUT", "/manifests/2.0") == 1


def test_blobs_of_another_repository_are_mounted(
    registry: Registry, proxy: FaultProxy, blobs: Blobs, image: Image, tmp_path: Path
) -> None:
    publish(proxy.upstream, "team/base", "1.0", image)
    told = Told()

    push_image(registry, "team/derived", "1.0", image.descriptor, blobs, mount_from="team/base", progress=told)

    assert proxy.count("POST", "mount=") == len(image.blobs)
    assert proxy.count("PUT", "/blobs/") == 0
    assert told.counts == told.begun
    check(proxy.upstream, "team/derived", "1.0", image, tmp_path)


def test_what_cannot_be_mounted_is_sent(
    registry: Registry, proxy: FaultProxy, blobs: Blobs, image: Image, tmp_path: Path
) -> None:
    push_image(registry, "team/derived2", "1.0", image.descriptor, blobs, mount_from="team/none")

    check(proxy.upstream, "team/derived2", "1.0", image, tmp_path)


def test_a_large_blob_goes_in_chunks(registry: Registry, proxy: FaultProxy, blobs: Blobs, image: Image, tmp_path: Path) -> None:
    told = Told()

    push_image(registry, "team/large", "1.0", image.descriptor, blobs, progress=told, chunk_bytes=CHUNK)

    ranges = [asked.headers["Content-Range"] for asked in proxy.requests("PATCH", "")]
    assert ranges == ["0-99999", "100000-199999", "200000-249999"]
    assert told.counts == {digest: len(data) for digest, data in image.blobs.items()}
    check(proxy.upstream, "team/large", "1.0", image, tmp_path)


@pytest.mark.parametrize("fault", [answer(503), hung_up])
def test_a_chunk_that_did_not_arrive_is_sent_again_and_no_other(
    registry: Registry, proxy: FaultProxy, blobs: Blobs, image: Image, tmp_path: Path, fault: Fault
) -> None:
    def second_fails(exchange: Exchange) -> None:
        if exchange.asked.headers["Content-Range"].startswith("100000-") and proxy.count("GET", "uploads") == 0:
            fault(exchange)
        else:
            exchange.send(exchange.forward())

    proxy.on("PATCH", "uploads", second_fails)

    push_image(registry, "team/again", "1.0", image.descriptor, blobs, chunk_bytes=CHUNK)

    ranges = [asked.headers["Content-Range"] for asked in proxy.requests("PATCH", "")]
    assert ranges == ["0-99999", "100000-199999", "100000-199999", "200000-249999"]
    check(proxy.upstream, "team/again", "1.0", image, tmp_path)


def test_a_chunk_that_arrived_in_part_is_taken_up_where_the_registry_stands(
    registry: Registry, proxy: FaultProxy, blobs: Blobs, image: Image, tmp_path: Path
) -> None:
    standing: list[str] = []

    def half_arrives(exchange: Exchange) -> None:
        reply = exchange.forward(body=exchange.body[: CHUNK // 2])
        standing.append(reply.headers["Location"])
        exchange.hang_up()

    def says_where_it_stands(exchange: Exchange) -> None:
        address = urlsplit(standing[0])
        exchange.send(exchange.forward(path=f"{address.path}?{address.query}"))

    proxy.on("PATCH", "uploads", half_arrives, times=1)
    proxy.on("GET", "uploads", says_where_it_stands, times=1)

    push_image(registry, "team/half", "1.0", image.descriptor, blobs, chunk_bytes=CHUNK)

    ranges = [asked.headers["Content-Range"] for asked in proxy.requests("PATCH", "")]
    assert ranges == ["0-99999", "50000-149999", "150000-249999"]
    check(proxy.upstream, "team/half", "1.0", image, tmp_path)


def test_an_upload_that_the_registry_has_let_go_of_begins_again(
    registry: Registry, proxy: FaultProxy, blobs: Blobs, image: Image, tmp_path: Path
) -> None:
    def arrives_and_no_answer(exchange: Exchange) -> None:
        exchange.forward()  # docker-registry ends an upload whose offset is not the one it expects
        exchange.hang_up()

    proxy.on("PATCH", "uploads", arrives_and_no_answer, times=1)

    push_image(registry, "team/anew", "1.0", image.descriptor, blobs, chunk_bytes=CHUNK)

    check(proxy.upstream, "team/anew", "1.0", image, tmp_path)


def test_a_registry_that_never_gets_on_is_given_up(registry: Registry, proxy: FaultProxy, blobs: Blobs, image: Image) -> None:
    proxy.on("PATCH", "uploads", changed_header("Range", "0-9"))

    with pytest.raises(RegistryError, match=f"^{proxy.host}/team/stuck: "):
        push_image(registry, "team/stuck", "1.0", image.descriptor, blobs, chunk_bytes=CHUNK)
    assert proxy.count("PUT", "/manifests/") == 0


def test_one_that_goes_round_in_circles_is_given_up(registry: Registry, proxy: FaultProxy, blobs: Blobs, image: Image) -> None:
    def circle(exchange: Exchange) -> None:
        reached = "0-9" if proxy.count("PATCH", "uploads") % 2 else f"0-{CHUNK - 1}"
        exchange.send(Reply(202, {"Location": exchange.asked.path, "Range": reached}, b""))

    proxy.on("PATCH", "uploads", circle)

    with pytest.raises(RegistryError, match="the registry stays at 10 bytes"):
        push_image(registry, "team/circle", "1.0", image.descriptor, blobs, chunk_bytes=CHUNK)


@pytest.mark.parametrize(("method", "path"), [("HEAD", "blobs"), ("POST", "uploads"), ("PUT", "uploads"), ("PUT", "manifests")])
@pytest.mark.parametrize("fault", [answer(503), answer(429, Retry_After="0"), hung_up])
def test_what_fails_for_the_moment_is_done_again(
    registry: Registry, proxy: FaultProxy, blobs: Blobs, image: Image, tmp_path: Path, method: str, path: str, fault: Fault
) -> None:
    proxy.on(method, path, fault, times=2)

    push_image(registry, "team/moment", "1.0", image.descriptor, blobs)

    check(proxy.upstream, "team/moment", "1.0", image, tmp_path)


def test_a_blob_whose_answer_was_lost_is_not_sent_again(
    registry: Registry, proxy: FaultProxy, blobs: Blobs, image: Image
) -> None:
    def arrives_and_no_answer(exchange: Exchange) -> None:
        exchange.forward()
        exchange.hang_up()

    proxy.on("PUT", "uploads", arrives_and_no_answer)

    push_image(registry, "team/lost", "1.0", image.descriptor, blobs)

    assert proxy.count("PUT", "uploads") == len(image.blobs)


def test_a_relative_location_is_followed(
    registry: Registry, proxy: FaultProxy, blobs: Blobs, image: Image, tmp_path: Path
) -> None:
    def relative(exchange: Exchange) -> None:
        reply = exchange.forward()
        address = urlsplit(reply.headers["Location"])
        reply.headers["Location"] = f"{address.path}?{address.query}"
        exchange.send(reply)

    proxy.on("POST", "uploads", relative)
    proxy.on("PATCH", "uploads", relative)

    push_image(registry, "team/relative", "1.0", image.descriptor, blobs, chunk_bytes=CHUNK)

    check(proxy.upstream, "team/relative", "1.0", image, tmp_path)


def test_a_location_on_another_host_gets_the_blob_and_no_login(proxy: FaultProxy, blobs: Blobs, image: Image) -> None:
    login = Credentials(username="a", password="b")

    def away(exchange: Exchange) -> None:
        if exchange.asked.headers.get("Authorization") != login.basic():
            answer(401, WWW_Authenticate="Basic")(exchange)
            return
        reply = exchange.forward(without=("Authorization",))
        reply.headers["Location"] = reply.headers["Location"].replace(proxy.url, elsewhere.url)
        exchange.send(reply)

    with running_proxy(proxy.upstream, address="127.0.0.2") as elsewhere:
        proxy.on("POST", "uploads", away)
        with Registry(proxy.host, credentials=lambda host, repository: login, patience=QUICK) as registry:
            push_image(registry, "team/away", "1.0", image.descriptor, blobs)
        assert elsewhere.count("PUT", "uploads") == len(image.blobs)
        assert all("Authorization" not in asked.headers for asked in elsewhere.asked)


@pytest.mark.parametrize("location", ["http://registry.example/", "file:///x", ""])
def test_a_location_that_may_not_be_followed_is_refused(
    registry: Registry, proxy: FaultProxy, blobs: Blobs, image: Image, location: str
) -> None:
    proxy.on("POST", "uploads", answer(202, Location=location))

    with pytest.raises(RegistryError, match=f"^{proxy.host}/team/app: "):
        push_image(registry, "team/app", "1.0", image.descriptor, blobs)


def test_what_its_owner_does_not_let_be_distributed_is_not_sent(registry: Registry, proxy: FaultProxy, blobs: Blobs) -> None:
    foreign = image_of(os.urandom(100), layer_type="application/vnd.oci.image.layer.nondistributable.v1.tar+gzip")
    blobs.add(foreign.data)
    blobs.add(foreign.blobs[foreign_config(foreign)])
    proxy.on("PUT", "/manifests/", answer(201))  # this registry would refuse it, as it wants every layer's address

    push_image(registry, "team/foreign", "1.0", foreign.descriptor, blobs)

    assert proxy.count("HEAD", "/blobs/") == 1


def foreign_config(image: Image) -> str:
    return next(digest for digest, data in image.blobs.items() if data.startswith(b"{"))


def test_an_index_goes_with_all_of_its_images(registry: Registry, proxy: FaultProxy, blobs: Blobs, tmp_path: Path) -> None:
    amd64 = image_of(os.urandom(10), platform=AMD64)
    index = index_of(amd64, image_of(os.urandom(10), platform=Platform(architecture="arm64")))
    store(blobs, index)

    push_image(registry, "team/multi", "1.0", index.descriptor, blobs)

    check(proxy.upstream, "team/multi", "1.0", amd64, tmp_path)


def test_a_layer_that_is_not_in_the_store_is_named(registry: Registry, blobs: Blobs, image: Image) -> None:
    blobs.discard(layer_of(image))

    with pytest.raises(ImageError, match=f"there is no {layer_of(image)} in the store"):
        push_image(registry, "team/app", "1.0", image.descriptor, blobs)


def test_a_layer_that_the_disk_has_changed_is_refused(registry: Registry, proxy: FaultProxy, blobs: Blobs, image: Image) -> None:
    Path(blobs.path(layer_of(image))).write_bytes(bytes(250_000))

    with pytest.raises(RegistryError, match="400: provided digest did not match"):
        push_image(registry, "team/damaged", "1.0", image.descriptor, blobs)
    assert proxy.count("PUT", "/manifests/") == 0


def test_a_registry_with_a_login_takes_what_its_user_pushes(
    closed_registry: str, blobs: Blobs, image: Image, tmp_path: Path
) -> None:
    login = Credentials(username=LOGIN[0], password=LOGIN[1])

    with Registry(closed_registry, credentials=lambda host, repository: login, patience=QUICK) as registry:
        push_image(registry, "team/app", "1.0", image.descriptor, blobs)
        assert pull_image(registry, "team/app", "1.0", Blobs(str(tmp_path / "fresh")), AMD64) == image.descriptor


def real_image() -> Image:
    """One that skopeo looks into: gzip, with the digest of what is in it."""
    tar = bytes(10240)
    layer = gzip.compress(tar, mtime=0)
    rootfs = {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(tar).hexdigest()}"]}
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs}).encode()
    parts = {
        data: Descriptor(media_type=kind, digest=digest_of(data), size=len(data))
        for data, kind in ((config, CONFIG_TYPE), (layer, f"{LAYER_TYPE}+gzip"))
    }
    manifest = Manifest(config=parts[config], layers=(parts[layer],))
    data = manifest.as_bytes()
    descriptor = Descriptor(media_type=manifest.media_type, digest=digest_of(data), size=len(data))
    return Image(descriptor=descriptor, data=data, blobs={digest_of(part): part for part in parts})


def skopeo(*arguments: str) -> None:
    subprocess.run(["skopeo", "--insecure-policy", "copy", "--quiet", *arguments], check=True)


@needs("skopeo")
def test_skopeo_pulls_what_was_pushed_and_pushes_what_is_pulled(
    registry: Registry, open_registry: str, blobs: Blobs, tmp_path: Path
) -> None:
    image = real_image()
    store(blobs, image)
    push_image(registry, "team/round", "1.0", image.descriptor, blobs)

    skopeo("--src-tls-verify=false", f"docker://{open_registry}/team/round:1.0", f"oci:{tmp_path}/layout:1.0")
    (entry,) = json.loads((tmp_path / "layout/index.json").read_text())["manifests"]
    assert entry["digest"] == image.digest
    assert {f"sha256:{path.name}" for path in (tmp_path / "layout/blobs/sha256").iterdir()} == {image.digest, *image.blobs}

    skopeo("--dest-tls-verify=false", f"oci:{tmp_path}/layout:1.0", f"docker://{open_registry}/team/back:2.0")
    check(open_registry, "team/back", "2.0", image, tmp_path)
