"""Debian's docker-registry on a port of loopback, and images put into it by plain requests: not by the code under test."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import subprocess
import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from events import line_from

from lxsandbox.images.digests import digest_of
from lxsandbox.images.documents import CONFIG_TYPE, LAYER_TYPE, Descriptor, Index, Manifest, Platform

__all__ = ["LOGIN", "Image", "image_of", "index_of", "publish", "running_registry"]

LOGIN = ("tester", "secret-password")
# bcrypt, the only form that docker-registry reads: of LOGIN's password, at the least cost.
_HTPASSWD = "tester:$2b$04$c7QBWe0cB5WAskZQ/OPPpOLqzz4BlLQITDrVlnQYEUQyndbAP0ska\n"
_CONFIG = """
version: 0.1
log: {{level: info, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {folder}/data}}}}
http: {{addr: "127.0.0.1:0", secret: of-no-use-to-anybody}}
"""


@contextlib.contextmanager
def running_registry(folder: Path, *, with_login: bool = False) -> Generator[str]:
    """A registry that keeps its blobs below `folder`; yields `127.0.0.1:PORT`."""
    config = _CONFIG.format(folder=folder)
    if with_login:
        (folder / "htpasswd").write_text(_HTPASSWD)
        config += f"auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}\n"
    (folder / "config.yml").write_text(config)
    with subprocess.Popen(["docker-registry", "serve", str(folder / "config.yml")], stderr=subprocess.PIPE, bufsize=0) as process:
        assert process.stderr is not None
        try:
            while not (found := re.search(r"listening on (127\.0\.0\.1:\d+)", line := line_from(process.stderr))):
                assert line, "docker-registry has ended"
            drain = threading.Thread(target=process.stderr.read)  # a full pipe would stop it
            drain.start()
            yield found[1]
        finally:
            process.terminate()
            process.wait()
            drain.join()


@dataclass(frozen=True, kw_only=True)
class Image:
    """A manifest or an index, with everything below it by digest."""

    descriptor: Descriptor
    data: bytes
    blobs: dict[str, bytes]
    children: tuple[Image, ...] = ()

    @property
    def digest(self) -> str:
        return self.descriptor.digest


def image_of(*layers: bytes, platform: Platform | None = None, layer_type: str = LAYER_TYPE) -> Image:
    """An image with these layers, whose content nobody looks at here."""
    config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}).encode()
    manifest = Manifest(config=_descriptor(config, CONFIG_TYPE), layers=tuple(_descriptor(layer, layer_type) for layer in layers))
    return _image(manifest, {digest_of(blob): blob for blob in (config, *layers)}, platform=platform)


def index_of(*children: Image, annotations: Sequence[dict[str, str]] = ()) -> Image:
    """An index of these images; annotations, where they are given, are those of its entries."""
    notes = [*annotations, *({} for _ in children)]
    entries = [
        Descriptor(
            media_type=child.descriptor.media_type,
            digest=child.digest,
            size=len(child.data),
            platform=child.descriptor.platform,
            annotations=note,
        )
        for child, note in zip(children, notes, strict=False)
    ]
    return _image(Index(manifests=tuple(entries)), {}, children=children)


def publish(host: str, repository: str, tag: str, image: Image, *, login: str = "") -> None:
    """Upload the image under that tag. `login` is an Authorization header."""
    headers = {"Authorization": login} if login else {}
    with contextlib.closing(http.client.HTTPConnection(host)) as connection:
        for child in image.children:
            publish(host, repository, child.digest, child, login=login)
        for digest, blob in image.blobs.items():
            location = _request(connection, "POST", f"/v2/{repository}/blobs/uploads/", headers, b"", 202)
            _request(connection, "PUT", f"{location}&digest={digest}", headers, blob, 201)
        headers = {**headers, "Content-Type": image.descriptor.media_type}
        _request(connection, "PUT", f"/v2/{repository}/manifests/{tag}", headers, image.data, 201)


def _request(
    connection: http.client.HTTPConnection, method: str, url: str, headers: dict[str, str], body: bytes, expected: int
) -> str:
    connection.request(method, url, body, headers)
    response = connection.getresponse()
    said = response.read()
    assert response.status == expected, said
    return response.headers["Location"]


def _descriptor(data: bytes, media_type: str) -> Descriptor:
    return Descriptor(media_type=media_type, digest=digest_of(data), size=len(data))


def _image(
    document: Manifest | Index, blobs: dict[str, bytes], *, platform: Platform | None = None, children: tuple[Image, ...] = ()
) -> Image:
    data = document.as_bytes()
    descriptor = Descriptor(media_type=document.media_type, digest=digest_of(data), size=len(data), platform=platform)
    return Image(descriptor=descriptor, data=data, blobs=blobs, children=children)
