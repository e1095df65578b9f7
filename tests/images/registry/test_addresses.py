"""Where a registry may send us to."""

from __future__ import annotations

import pytest

from lxsandbox import ImageError
from lxsandbox.images.registry.addresses import base_url, resolve, same_origin, same_site


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("localhost:5000", "http://localhost:5000"),
        ("[::1]:5000", "http://[::1]:5000"),
        ("127.9.9.9", "http://127.9.9.9"),
        ("registry.example:5000", "https://registry.example:5000"),
        ("localhost.example", "https://localhost.example"),
        ("127.0.0.1.example", "https://127.0.0.1.example"),
        ("https://127.0.0.1:5000", "https://127.0.0.1:5000"),
        ("http://127.0.0.1:5000/", "http://127.0.0.1:5000"),
    ],
)
def test_plain_http_is_for_loopback(host: str, url: str) -> None:
    assert base_url(host, insecure=False) == url


@pytest.mark.parametrize("host", ["", "a/b", "user:password@127.0.0.1", "ftp://x", "x?y", "x:y", "x#y", "http://", "a b"])
def test_what_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(ImageError):
        base_url(host, insecure=True)


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("/x?y=1", "https://a.example:1/x?y=1"),
        ("x", "https://a.example:1/v2/x"),
        ("//b.example/x", "https://b.example/x"),
        ("https://b.example/x", "https://b.example/x"),
    ],
)
def test_a_location_is_absolute_or_relative(location: str, url: str) -> None:
    assert resolve(location, base="https://a.example:1/v2/y", insecure=False) == url


@pytest.mark.parametrize("location", ["https://[::1", "https://[a:b]/x", "//]", "https://a.example:99999/"])
def test_a_location_that_makes_no_sense_is_refused(location: str) -> None:
    with pytest.raises(ImageError, match="is no address"):
        resolve(location, base="https://a.example/", insecure=True)


def test_a_refusal_obeys_no_registry_that_writes_to_the_terminal() -> None:
    for location in ("ftp://\x1b[2Jx", "ftp://a@\u202ex", "x:\x1b[2J"):
        with pytest.raises(ImageError) as refused:
            resolve(location, base="https://a.example/", insecure=True)
        assert refused.value.message.isprintable()


@pytest.mark.parametrize("location", ["http://a.example/x", "http://127.0.0.1/x", "HTTP://a.example"])
@pytest.mark.parametrize("insecure", [True, False])
def test_nothing_leads_from_https_to_http(location: str, insecure: bool) -> None:
    with pytest.raises(ImageError, match="from https to http"):
        resolve(location, base="https://a.example/", insecure=insecure)


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("https://a.example", "https://A.example:443/x", True),
        ("https://a.example", "https://a.example:444", False),
        ("https://a.example", "http://a.example", False),
        ("https://a.example", "https://a.example.evil", False),
        ("http://[::1]:80", "http://[::1]", True),
    ],
)
def test_an_origin_is_scheme_host_and_port(first: str, second: str, same: bool) -> None:
    assert same_origin(first, second) is same


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("registry-1.docker.io", "auth.docker.io", True),
        ("registry.gitlab.com", "gitlab.com", True),
        ("registry.example.co.uk", "auth.example.co.uk", True),
        ("example.co.uk", "evil.co.uk", False),
        ("ghcr.io", "ghcr.io", True),
        ("lscr.io", "ghcr.io", False),
        ("docker.io", "evildocker.io", False),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("10.1.0.1", "10.2.0.1", False),
        ("localhost", "127.0.0.1", False),
        ("registry", "auth", False),
    ],
)
def test_a_site_is_what_one_owner_has(first: str, second: str, same: bool) -> None:
    assert same_site(first, second) is same
