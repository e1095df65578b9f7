"""Over TLS nothing is taken from a registry whose certificate is not vouched for, and nothing leads out of TLS."""

from __future__ import annotations

import os
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from images.registry.conftest import QUICK
from images.registry.fault_proxy import FaultProxy, answer, running_proxy
from images.registry.servers import image_of, publish
from needs import needs

from lxsandbox.images.blobs import Blobs
from lxsandbox.images.digests import digest_of
from lxsandbox.images.documents import Platform
from lxsandbox.images.registry import Credentials, Registry, RegistryError, pull_image

pytestmark = needs("docker-registry", "openssl")

AMD64 = Platform(architecture="amd64")
LAYER = os.urandom(100_000)
IMAGE = image_of(LAYER)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that vouches for itself, and its key in the same file."""
    folder = tmp_path_factory.mktemp("certificate")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    subprocess.run([*command.split(), "-keyout", folder / "key", "-out", folder / "cert"], check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_bytes((folder / "key").read_bytes() + (folder / "cert").read_bytes())
    return both


@pytest.fixture
def secure(open_registry: str, certificate: Path) -> Iterator[FaultProxy]:
    """The registry behind TLS."""
    publish(open_registry, "team/app", "1.0", IMAGE)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with running_proxy(open_registry, tls=context) as running:
        yield running


def test_a_certificate_that_nobody_vouches_for_is_refused(secure: FaultProxy, blobs: Blobs) -> None:
    with (
        Registry(secure.url, patience=QUICK) as registry,
        pytest.raises(
            RegistryError, match=f"^{secure.host}/team/app: no secure connection to .*self-signed certificate"
        ) as caught,
    ):
        pull_image(registry, "team/app", "1.0", blobs, AMD64)
    assert "SSL_CERT_FILE" in caught.value.hint
    assert not secure.asked


def test_one_that_the_user_vouches_for_is_accepted(
    secure: FaultProxy, blobs: Blobs, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))

    with Registry(secure.url, patience=QUICK) as registry:
        assert pull_image(registry, "team/app", "1.0", blobs, AMD64) == IMAGE.descriptor


def test_a_registry_that_speaks_no_tls_is_said_to(proxy: FaultProxy, blobs: Blobs) -> None:
    with (
        Registry(f"https://{proxy.host}", patience=QUICK) as registry,
        pytest.raises(RegistryError, match="no secure connection to"),
    ):
        pull_image(registry, "team/app", "1.0", blobs, AMD64)


def test_neither_a_redirect_nor_a_token_server_leads_out_of_tls(
    secure: FaultProxy, proxy: FaultProxy, blobs: Blobs, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    login = Credentials(username="a", password="b")
    secure.on("GET", digest_of(LAYER), answer(307, Location=f"{proxy.url}/v2/team/app/blobs/{digest_of(LAYER)}"))
    secure.on("GET", "/manifests/2.0", answer(401, WWW_Authenticate=f'Bearer realm="{proxy.url}/token"'))

    with Registry(secure.url, insecure=True, credentials=lambda host, repository: login, patience=QUICK) as registry:
        with pytest.raises(RegistryError, match=r"a redirect is refused: 127\.0\.0\.1 points from https to http"):
            pull_image(registry, "team/app", "1.0", blobs, AMD64)
        with pytest.raises(RegistryError, match=r"the token server is refused: 127\.0\.0\.1 points from https to http"):
            pull_image(registry, "team/app", "2.0", blobs, AMD64)
    assert not proxy.asked
