"""Which addresses a registry may send us to, and with what: the rules about schemes, hosts and origins.

One parser reads an address for the check and for the request, so that the two cannot differ.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urljoin

from urllib3.exceptions import LocationParseError
from urllib3.util import Url, parse_url

from lxsandbox.errors import ImageError
from lxsandbox.images.registry.failures import printable

__all__ = ["base_url", "host_of", "is_loopback", "resolve", "same_origin", "same_site"]

_PORTS = {"http": 80, "https": 443}


def base_url(host: str, *, insecure: bool) -> str:
    """`scheme://host:port` of a registry; `host` may bring its scheme. Raises ImageError for what is no host.

    Plain http is for loopback, and for any host when `insecure`.
    """
    scheme, separator, rest = host.rpartition("://")
    if not separator:
        scheme = "http" if insecure or is_loopback(host_of(f"http://{host}")) else "https"
    url = _parsed(f"{scheme}://{rest}")
    if not url.host or (url.path or "/") != "/" or url.query or url.fragment:
        raise ImageError(f"{host!r:.200} is no registry", hint="a registry is a host, and a port where it has its own")
    _check_scheme(url, insecure=insecure)
    return f"{url.scheme}://{url.netloc}"


def resolve(location: str, *, base: str, insecure: bool) -> str:
    """The address that `base` points to by `location`, absolute or relative. Raises ImageError where it may not be followed."""
    try:
        joined = urljoin(base, location)
    except ValueError:  # of what stands in brackets, when it is no address
        raise ImageError(f"{location!r:.200} is no address") from None
    url = _parsed(joined)
    if _parsed(base).scheme == "https" and url.scheme != "https":
        raise ImageError(
            f"{host_of(base)} points from https to {printable(f'{url.scheme}://{url.host}')}",
            hint="behind a proxy that ends TLS, the registry must be told so (X-Forwarded-Proto, or its `http.host`)",
        )
    _check_scheme(url, insecure=insecure)
    return url.url


def same_origin(first: str, second: str) -> bool:
    """Whether credentials for one are for the other too: scheme, host and port are the same."""
    return _origin(first) == _origin(second)


def same_site(first: str, second: str) -> bool:
    """Whether two hosts are by their names of one owner, as `registry-1.docker.io` and `auth.docker.io`.

    With no list of public suffixes at hand, `co.uk` and its like are told by their shape: the last three labels count there.
    """
    if first == second:
        return True
    if _address(first) or _address(second):
        return False
    labels, others = first.split("."), second.split(".")
    count = 3 if len(labels[-1]) == 2 and len(labels[-2:][0]) <= 3 else 2
    return len(labels) >= count and len(others) >= count and labels[-count:] == others[-count:]


def host_of(url: str) -> str:
    """The host in an address, without its port, in lower case."""
    return (_parsed(url).host or "").strip("[]").lower()


def is_loopback(host: str) -> bool:
    """Whether what is sent to `host` stays on this machine."""
    address = _address(host)
    return host == "localhost" if address is None else address.is_loopback


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _origin(text: str) -> tuple[str, str, int]:
    url = _parsed(text)
    scheme = url.scheme or ""
    return scheme, (url.host or "").lower(), url.port or _PORTS.get(scheme, 0)


def _parsed(text: str) -> Url:
    try:
        url = parse_url(text)
    except LocationParseError:
        raise ImageError(f"{text!r:.200} is no address") from None
    if url.auth is not None:
        raise ImageError(f"an address with a login in it is not followed ({printable(url.host or '')})")
    return url


def _check_scheme(url: Url, *, insecure: bool) -> None:
    if url.scheme not in _PORTS or not url.host:
        raise ImageError(f"{url.url!r:.200} is no address of http or https")
    if url.scheme == "http" and not insecure and not is_loopback(url.host.strip("[]").lower()):
        raise ImageError(
            f"{url.host} is to be spoken to over plain http, which anybody on the way can read and change",
            hint="plain http is for this machine's own registries; another one must be allowed as insecure",
        )
