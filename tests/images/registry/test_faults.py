"""Whatever a registry does wrong: taken up or refused, nothing unverified in the store, and the error says who and what."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from images.registry.conftest import QUICK
from images.registry.fault_proxy import (
    Exchange,
    Fault,
    FaultProxy,
    answer,
    changed_header,
    dropped,
    endless,
    flipped,
    hung_up,
    running_proxy,
    stalled,
    truncated,
    whole_instead_of_a_range,
)
from images.registry.servers import image_of, publish
from images.registry.test_pull import Told
from needs import needs

from lxsandbox import ImageError
from lxsandbox.images.blobs import Blobs
from lxsandbox.images.digests import digest_of
from lxsandbox.images.documents import Platform
from lxsandbox.images.registry import Registry, RegistryError, pull_image

pytestmark = needs("docker-registry")

AMD64 = Platform(architecture="amd64")
LAYER = os.urandom(1_000_000)
DIGEST = digest_of(LAYER)
IMAGE = image_of(LAYER)


@pytest.fixture(autouse=True, scope="module")
def published(open_registry: str) -> None:
    publish(open_registry, "team/app", "1.0", IMAGE)


@pytest.fixture(autouse=True)
def nothing_unverified(blobs: Blobs) -> Iterator[None]:
    yield
    for path in Path(blobs.folder).glob("blobs/sha256/*"):
        assert digest_of(path.read_bytes()) == f"sha256:{path.name}"


def pull(registry: Registry, blobs: Blobs) -> None:
    pull_image(registry, "team/app", "1.0", blobs, AMD64)
    assert blobs.read(DIGEST, at_most=len(LAYER)) == LAYER


def refused(registry: Registry, blobs: Blobs, cause: str) -> RegistryError:
    """The error of a pull, which names the registry, the repository and the cause, and after which no image is there."""
    with pytest.raises(RegistryError, match=f"^{registry.host}/team/app: .*{cause}") as caught:
        pull(registry, blobs)
    assert (caught.value.registry, caught.value.repository) == (registry.host, "team/app")
    assert not blobs.has(IMAGE.digest)
    return caught.value


def test_a_connection_that_ends_in_the_middle_is_taken_up_there(proxy: FaultProxy, registry: Registry, blobs: Blobs) -> None:
    proxy.on("GET", DIGEST, dropped(600_000), times=1)

    pull(registry, blobs)

    first, second = proxy.requests("GET", DIGEST)
    assert "Range" not in first.headers
    assert second.headers["Range"] == "bytes=600000-"


def test_one_that_always_ends_after_a_while_is_taken_up_as_long_as_it_gives_more(
    proxy: FaultProxy, registry: Registry, blobs: Blobs
) -> None:
    proxy.on("GET", DIGEST, dropped(100_000))  # ten times, and four failures in a row are the most

    pull(registry, blobs)

    assert proxy.count("GET", DIGEST) == 10


def test_one_that_gives_next_to_nothing_each_time_is_given_up(proxy: FaultProxy, registry: Registry, blobs: Blobs) -> None:
    proxy.on("GET", DIGEST, dropped(100))

    refused(registry, blobs, "broke off")
    assert proxy.count("GET", DIGEST) == QUICK.attempts


def test_one_that_goes_round_in_circles_is_given_up(proxy: FaultProxy, registry: Registry, blobs: Blobs) -> None:
    def circle(exchange: Exchange) -> None:
        (answer(416) if "Range" in exchange.asked.headers else dropped(600_000))(exchange)

    proxy.on("GET", DIGEST, circle)

    refused(registry, blobs, "broke off|does not go on")
    assert proxy.count("GET", DIGEST) <= 2 * QUICK.attempts


def test_what_is_left_of_one_pull_is_taken_up_by_the_next(proxy: FaultProxy, registry: Registry, blobs: Blobs) -> None:
    proxy.on("GET", DIGEST, dropped(600_000), times=1)
    proxy.on("GET", DIGEST, hung_up, times=QUICK.attempts - 1)
    refused(registry, blobs, "does not answer")
    assert not blobs.has(DIGEST)
    proxy.asked.clear()

    pull(registry, blobs)

    assert [asked.headers["Range"] for asked in proxy.requests("GET", DIGEST)] == ["bytes=600000-"]


def test_a_registry_without_ranges_is_begun_again(proxy: FaultProxy, registry: Registry, blobs: Blobs) -> None:
    proxy.on("GET", DIGEST, dropped(600_000), times=1)
    proxy.on("GET", DIGEST, whole_instead_of_a_range)

    pull(registry, blobs)

    assert proxy.count("GET", DIGEST) == 2


def test_a_registry_that_goes_on_elsewhere_is_begun_again(proxy: FaultProxy, registry: Registry, blobs: Blobs) -> None:
    proxy.on("GET", DIGEST, dropped(600_000), times=1)
    proxy.on("GET", DIGEST, changed_header("Content-Range", "bytes 0-399999/1000000"), times=1)

    pull(registry, blobs)

    assert "Range" not in proxy.requests("GET", DIGEST)[2].headers


def test_a_registry_that_refuses_the_range_is_begun_again(proxy: FaultProxy, registry: Registry, blobs: Blobs) -> None:
    proxy.on("GET", DIGEST, dropped(600_000), times=1)
    proxy.on("GET", DIGEST, answer(416), times=1)

    pull(registry, blobs)


def test_a_flipped_bit_in_a_blob_is_refused(proxy: FaultProxy, registry: Registry, blobs: Blobs) -> None:
    proxy.on("GET", DIGEST, flipped(500_000), times=1)

    refused(registry, blobs, f"what came as {DIGEST} is sha256:")
    assert not blobs.has(DIGEST)
    pull(registry, blobs)


def test_a_wrong_beginning_from_before_is_not_held_against_the_registry(
    proxy: FaultProxy, registry: Registry, blobs: Blobs
) -> None:
    with pytest.raises(ImageError, match="ended after 1000"):
        blobs.take_in(DIGEST, len(LAYER), [b"x" * 1000])

    pull(registry, blobs)

    assert [asked.headers.get("Range") for asked in proxy.requests("GET", DIGEST)] == ["bytes=1000-", None]


def test_a_flipped_bit_in_a_manifest_is_refused(proxy: FaultProxy, registry: Registry, blobs: Blobs) -> None:
    proxy.on("GET", "/manifests/", flipped(10))

    refused(registry, blobs, f"manifest 1.0 came as sha256:.*Docker-Content-Digest has it, {IMAGE.digest}")


def test_a_manifest_that_is_not_the_one_of_the_digest_is_refused(proxy: FaultProxy, registry: Registry, blobs: Blobs) -> None:
    other = image_of(b"other")
    proxy.on("GET", "/manifests/", answer(200, other.data, Content_Type=other.descriptor.media_type))

    with pytest.raises(RegistryError, match=f"came as {other.digest}, and not as what was asked for has it, {IMAGE.digest}"):
        pull_image(registry, "team/app", IMAGE.digest, blobs, AMD64)


@pytest.mark.parametrize(("digest", "said"), [("sha256:" + "0" * 64, "0000"), ("sha256:../../x", "is not a digest")])
def test_a_manifest_with_a_wrong_digest_in_its_header_is_refused(
    proxy: FaultProxy, registry: Registry, blobs: Blobs, digest: str, said: str
) -> None:
    proxy.on("GET", "/manifests/", changed_header("Docker-Content-Digest", digest))

    refused(registry, blobs, said)


def test_a_manifest_that_comes_as_something_else_is_refused(proxy: FaultProxy, registry: Registry, blobs: Blobs) -> None:
    index_type = "application/vnd.oci.image.index.v1+json"
    proxy.on("GET", "/manifests/", changed_header("Content-Type", index_type))

    refused(registry, blobs, f"came as {re.escape(index_type)} and calls itself")


def test_a_page_instead_of_a_manifest_is_refused(proxy: FaultProxy, registry: Registry, blobs: Blobs) -> None:
    proxy.on("GET", "/manifests/", answer(200, b"<html>Welcome to our hotel", Content_Type="text/html"))

    refused(registry, blobs, "manifest 1.0 is no JSON")


def test_a_blob_that_ends_early_and_says_so_is_refused(proxy: FaultProxy, registry: Registry, blobs: Blobs) -> None:
    def empty_at_the_end(exchange: Exchange) -> None:
        truncated(1000 if "Range" not in exchange.asked.headers else 0)(exchange)

    proxy.on("GET", DIGEST, empty_at_the_end)

    refused(registry, blobs, "ended after 1000 of 1000000 bytes")


@pytest.mark.parametrize("path", ["/manifests/", DIGEST], ids=["manifest", "blob"])
def test_an_endless_body_is_refused(proxy: FaultProxy, registry: Registry, blobs: Blobs, path: str) -> None:
    proxy.on("GET", path, endless)

    refused(registry, blobs, r"longer than (the )?\d+ bytes")
    assert [part.stat().st_size for part in Path(blobs.folder).glob(f"fetching/*{DIGEST[7:]}.part")] in ([], [0])


@pytest.mark.parametrize("path", ["/manifests/", DIGEST], ids=["manifest", "blob"])
def test_a_registry_that_stalls_is_not_waited_for_for_ever(proxy: FaultProxy, blobs: Blobs, path: str) -> None:
    proxy.on("GET", path, stalled)

    with Registry(proxy.host, patience=replace(QUICK, read_seconds=0.1, attempts=2)) as registry:
        refused(registry, blobs, "the answer broke off: time-out")


def test_a_registry_that_crawls_is_not_waited_for_for_ever(proxy: FaultProxy, blobs: Blobs) -> None:
    def crawl(exchange: Exchange) -> None:
        exchange.send(exchange.forward(), body=b"")
        while not exchange.proxy.closing.wait(0.02):
            exchange.write(b"x")
        exchange.hang_up()

    proxy.on("GET", DIGEST, crawl)

    with Registry(proxy.host, patience=replace(QUICK, read_seconds=0.1, attempts=2)) as registry:
        refused(registry, blobs, "slower than 1024 bytes a second")


@pytest.mark.parametrize("fault", [answer(503), answer(500), answer(429, Retry_After="0"), hung_up])
@pytest.mark.parametrize("path", ["/manifests/", DIGEST], ids=["manifest", "blob"])
def test_what_fails_for_the_moment_is_asked_again(
    proxy: FaultProxy, registry: Registry, blobs: Blobs, path: str, fault: Fault
) -> None:
    proxy.on("GET", path, fault, times=QUICK.attempts - 1)

    pull(registry, blobs)

    assert proxy.count("GET", path) == QUICK.attempts


def test_what_goes_on_failing_is_given_up(proxy: FaultProxy, registry: Registry, blobs: Blobs) -> None:
    proxy.on("GET", "/manifests/", answer(503, b'{"errors": [{"code": "UNAVAILABLE", "message": "on\\u001b[1m fire"}]}'))

    error = refused(registry, blobs, r"manifest 1\.0: the registry has failed \(503: on \[1m fire\)")
    assert "try again later" in error.hint
    assert proxy.count("GET", "/manifests/") == QUICK.attempts


def test_a_rate_limit_is_said_in_the_registrys_words_and_not_waited_for_too_long(
    proxy: FaultProxy, registry: Registry, blobs: Blobs
) -> None:
    words = b'{"errors": [{"message": "You have reached your pull rate limit. ' + b"x" * 1000 + b'"}]}'
    proxy.on("GET", "/manifests/", answer(429, words, Retry_After="3600"))

    error = refused(registry, blobs, r"rate limit is reached \(429: You have reached your pull rate limit\. x+\)")
    assert len(str(error)) < 400
    assert "log in" in error.hint
    assert any("3600 s" in note for note in error.__notes__)
    assert proxy.count("GET", "/manifests/") == 1


def test_what_is_refused_for_good_is_not_asked_again(proxy: FaultProxy, registry: Registry, blobs: Blobs) -> None:
    proxy.on("GET", DIGEST, answer(403))

    refused(registry, blobs, r"this login may not do that \(403\)")
    assert proxy.count("GET", DIGEST) == 1


def test_a_proxy_is_used_for_other_hosts_and_not_for_loopback(
    proxy: FaultProxy, blobs: Blobs, open_registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", proxy.url)

    with Registry(open_registry, patience=QUICK) as registry:
        registry.pull_manifest("team/app", "1.0")
    assert not proxy.asked
    with Registry("http://registry.invalid", insecure=True, patience=QUICK) as registry:
        pull(registry, blobs)
    assert {asked.path.partition("/v2/")[0] for asked in proxy.asked} == {"http://registry.invalid"}


def test_a_registry_that_is_not_there_is_named(blobs: Blobs) -> None:
    with running_proxy() as gone:
        host = gone.host

    with Registry(host, patience=QUICK) as registry:
        error = refused(registry, blobs, f"{host} does not answer: Connection refused")
    assert "HTTPS_PROXY" in error.hint


def test_a_host_that_nobody_knows_is_named(blobs: Blobs) -> None:
    with Registry("registry.invalid", patience=QUICK) as registry:
        refused(registry, blobs, "registry.invalid does not answer: ")


def test_one_layer_that_fails_stops_the_others(proxy: FaultProxy, registry: Registry, blobs: Blobs) -> None:
    layers = [os.urandom(1_000) for _ in range(30)]
    publish(proxy.upstream, "team/many", "1.0", image_of(*layers))
    proxy.on("GET", "/blobs/", answer(404))

    with pytest.raises(RegistryError, match="404"):
        pull_image(registry, "team/many", "1.0", blobs, AMD64)
    assert proxy.count("GET", "/blobs/") < 20


def test_a_failure_ends_what_waits_for_a_stalled_layer_at_once(proxy: FaultProxy, blobs: Blobs) -> None:
    slow, bad = os.urandom(1000), os.urandom(1000)
    publish(proxy.upstream, "team/stalled", "1.0", image_of(slow, bad))
    waiting = threading.Event()

    def stall(exchange: Exchange) -> None:
        waiting.set()
        stalled(exchange)

    def fail(exchange: Exchange) -> None:
        waiting.wait()
        answer(403)(exchange)

    proxy.on("GET", digest_of(slow), stall)
    proxy.on("GET", digest_of(bad), fail)

    with (
        Registry(proxy.host, patience=replace(QUICK, read_seconds=1000)) as registry,
        pytest.raises(RegistryError, match="403"),
    ):
        pull_image(registry, "team/stalled", "1.0", blobs, AMD64)


def test_an_interrupt_ends_a_pull_at_once_and_keeps_what_has_come(proxy: FaultProxy, blobs: Blobs) -> None:
    def half(exchange: Exchange) -> None:
        reply = exchange.forward()
        exchange.send(reply, body=reply.body[:600_000])
        exchange.proxy.closing.wait()
        exchange.hang_up()

    class InterruptedHalfWay(Told):
        def advance(self, digest: str, count: int) -> None:
            super().advance(digest, count)
            if self.counts[DIGEST] == 600_000:
                os.kill(os.getpid(), signal.SIGINT)

    proxy.on("GET", DIGEST, half, times=1)

    with Registry(proxy.host, patience=replace(QUICK, read_seconds=1000)) as registry:
        with pytest.raises(KeyboardInterrupt):
            pull_image(registry, "team/app", "1.0", blobs, AMD64, InterruptedHalfWay())
        pull(registry, blobs)
    assert proxy.requests("GET", DIGEST)[-1].headers["Range"] == "bytes=600000-"
