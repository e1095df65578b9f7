"""A login goes to the registry it is for, and to its token server; never along with a redirect, and never in the open."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from images.registry.conftest import QUICK
from images.registry.fault_proxy import Exchange, Fault, FaultProxy, answer, running_proxy
from images.registry.servers import image_of, publish
from needs import needs

from lxsandbox import ImageError
from lxsandbox.images.blobs import Blobs
from lxsandbox.images.digests import digest_of
from lxsandbox.images.documents import Platform
from lxsandbox.images.registry import Credentials, Registry, RegistryError, pull_image

pytestmark = needs("docker-registry")

AMD64 = Platform(architecture="amd64")
LAYER = os.urandom(100_000)
DIGEST = digest_of(LAYER)
IMAGE = image_of(LAYER)
LOGIN = Credentials(username="tester", password="pass:word")
BASIC = "Basic " + base64.b64encode(b"tester:pass:word").decode()


@pytest.fixture(autouse=True, scope="module")
def published(open_registry: str) -> None:
    publish(open_registry, "team/app", "1.0", IMAGE)


@pytest.fixture
def elsewhere(open_registry: str) -> Iterator[FaultProxy]:
    """Another host, with the same blobs."""
    with running_proxy(open_registry, address="127.0.0.2") as running:
        yield running


def registry_with(host: str, login: Credentials | None = LOGIN, **options) -> Registry:  # type: ignore[no-untyped-def]
    return Registry(host, credentials=lambda host, repository: login, patience=QUICK, **options)


def pull(registry: Registry, blobs: Blobs) -> None:
    pull_image(registry, "team/app", "1.0", blobs, AMD64)
    assert blobs.read(DIGEST, at_most=len(LAYER)) == LAYER


def guarded(challenge: str, accepted: str) -> Fault:
    """Passed on for this Authorization alone."""

    def fault(exchange: Exchange) -> None:
        if exchange.asked.headers.get("Authorization") == accepted:
            exchange.send(exchange.forward(without=("Authorization",)))
        else:
            answer(401, b'{"errors": [{"message": "who are you?"}]}', WWW_Authenticate=challenge)(exchange)

    return fault


def token(text: str, name: str = "token") -> Fault:
    return answer(200, json.dumps({name: text, "expires_in": 300}).encode())


def bearer(realm: str) -> str:
    return f'Bearer realm="{realm}",service="the, service",scope="repository:team/app:pull"'


def authorizations(proxy: FaultProxy) -> set[str]:
    return {asked.headers["Authorization"] for asked in proxy.asked if "Authorization" in asked.headers}


@pytest.fixture
def behind_basic(proxy: FaultProxy) -> FaultProxy:
    proxy.on("GET", "/v2/", guarded('Basic realm="here"', BASIC))
    return proxy


def redirected_to(url: str, status: int = 307, *, accepted: str = "") -> Fault:
    """The guard lets it through, and it points elsewhere."""

    def fault(exchange: Exchange) -> None:
        if accepted and exchange.asked.headers.get("Authorization") != accepted:
            answer(401, WWW_Authenticate="Basic")(exchange)
        else:
            answer(status, b"moved", Location=url.replace("PATH", exchange.asked.path))(exchange)

    return fault


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed_to_another_host_without_the_login(
    proxy: FaultProxy, elsewhere: FaultProxy, blobs: Blobs, status: int
) -> None:
    proxy.on("GET", DIGEST, redirected_to(f"{elsewhere.url}PATH", status, accepted=BASIC))
    proxy.on("GET", "/v2/", guarded("Basic", BASIC))

    with registry_with(proxy.host) as registry:
        pull(registry, blobs)

    assert elsewhere.count("GET", DIGEST) == 1
    assert authorizations(elsewhere) == set()


def test_another_port_is_another_host(proxy: FaultProxy, blobs: Blobs, open_registry: str) -> None:
    with running_proxy(open_registry) as other:
        proxy.on("GET", DIGEST, redirected_to(f"{other.url}PATH", accepted=BASIC))
        proxy.on("GET", "/v2/", guarded("Basic", BASIC))
        with registry_with(proxy.host) as registry:
            pull(registry, blobs)
        assert authorizations(other) == set()


def test_a_redirect_within_the_registry_keeps_the_login(proxy: FaultProxy, blobs: Blobs) -> None:
    proxy.on("GET", f"{DIGEST}$", redirected_to(f"../blobs/{DIGEST}?moved=1", accepted=BASIC))
    proxy.on("GET", "/v2/", guarded("Basic", BASIC))

    with registry_with(proxy.host) as registry:
        pull(registry, blobs)
    assert [asked.headers.get("Authorization") for asked in proxy.requests("GET", "moved")] == [BASIC]


def test_a_login_that_another_host_wants_is_not_given(proxy: FaultProxy, elsewhere: FaultProxy, blobs: Blobs) -> None:
    proxy.on("GET", DIGEST, redirected_to(f"{elsewhere.url}PATH"))
    elsewhere.on("GET", "/v2/", answer(401, WWW_Authenticate='Basic realm="gimme"'))

    with registry_with(proxy.host) as registry, pytest.raises(RegistryError, match="wants a login"):
        pull(registry, blobs)
    assert authorizations(elsewhere) == set()
    assert elsewhere.count("GET", "/v2/") == 1


def test_one_that_points_back_gets_no_login_with_it(proxy: FaultProxy, elsewhere: FaultProxy, blobs: Blobs) -> None:
    proxy.on("GET", "secret", answer(200))
    proxy.on("GET", DIGEST, redirected_to(f"{elsewhere.url}PATH", accepted=BASIC))
    proxy.on("GET", "/v2/", guarded("Basic", BASIC))
    elsewhere.on("GET", "/v2/", redirected_to(f"{proxy.url}/secret"))

    with registry_with(proxy.host) as registry, pytest.raises(RegistryError):
        pull(registry, blobs)
    assert all("Authorization" not in asked.headers for asked in proxy.requests("GET", "secret"))
    assert proxy.count("GET", "secret")


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("http://registry.example/x", "plain http"),
        ("ftp://127.0.0.1/x", "no address of http"),
        ("file:///etc/passwd", "no address of http"),
        ("http://user:secret@127.0.0.1/x", "an address with a login in it"),
        ("http://127.0.0.1:99999/", "is no address"),
        ("", "does not say where"),
    ],
)
def test_a_redirect_to_where_nothing_may_be_fetched_is_refused(proxy: FaultProxy, blobs: Blobs, location: str, said: str) -> None:
    proxy.on("GET", DIGEST, answer(307, Location=location))

    with registry_with(proxy.host) as registry, pytest.raises(RegistryError, match=f"^{proxy.host}/team/app: .*{said}"):
        pull(registry, blobs)
    assert not blobs.has(DIGEST)


def test_redirects_in_a_circle_come_to_an_end(proxy: FaultProxy, blobs: Blobs) -> None:
    proxy.on("GET", DIGEST, redirected_to("PATH"))

    with registry_with(proxy.host) as registry, pytest.raises(RegistryError, match="more than 5 redirects"):
        pull(registry, blobs)
    assert proxy.count("GET", DIGEST) == 6


def test_a_token_is_fetched_with_the_login_and_used_for_all_that_follows(proxy: FaultProxy, blobs: Blobs) -> None:
    proxy.on("GET", "^/token", token("good"))
    proxy.on("GET", "/v2/", guarded(bearer(f"{proxy.url}/token"), "Bearer good"))

    with registry_with(proxy.host) as registry:
        pull(registry, blobs)

    (asked,) = proxy.requests("GET", "^/token")
    assert asked.path == "/token?service=the%2C+service&scope=repository%3Ateam%2Fapp%3Apull"
    assert asked.headers["Authorization"] == BASIC
    assert authorizations(proxy) == {BASIC, "Bearer good"}


def test_without_a_login_a_token_is_fetched_all_the_same(proxy: FaultProxy, elsewhere: FaultProxy, blobs: Blobs) -> None:
    elsewhere.on("GET", "^/token", token("good", name="access_token"))
    proxy.on("GET", "/v2/", guarded(bearer(f"{elsewhere.url}/token"), "Bearer good"))

    with registry_with(proxy.host, None) as registry:
        pull(registry, blobs)
    assert authorizations(elsewhere) == set()


def test_the_login_is_not_sent_to_a_token_server_elsewhere(proxy: FaultProxy, elsewhere: FaultProxy, blobs: Blobs) -> None:
    elsewhere.on("GET", "^/token", token("good"))
    proxy.on("GET", "/v2/", guarded(bearer(f"{elsewhere.url}/token"), "Bearer good"))

    with (
        registry_with(proxy.host) as registry,
        pytest.raises(RegistryError, match=r"sent to 127\.0\.0\.2, which is not") as caught,
    ):
        pull(registry, blobs)
    assert "token host" in caught.value.hint
    assert elsewhere.asked == []


def test_but_to_one_that_was_named(proxy: FaultProxy, elsewhere: FaultProxy, blobs: Blobs) -> None:
    elsewhere.on("GET", "^/token", token("good"))
    proxy.on("GET", "/v2/", guarded(bearer(f"{elsewhere.url}/token"), "Bearer good"))

    with registry_with(proxy.host, token_hosts=["127.0.0.2"]) as registry:
        pull(registry, blobs)
    assert authorizations(elsewhere) == {BASIC}


def test_an_identity_token_is_exchanged_by_a_form(proxy: FaultProxy, blobs: Blobs) -> None:
    forms: list[bytes] = []

    def exchanged(exchange: Exchange) -> None:
        forms.append(exchange.body)
        token("good", name="access_token")(exchange)

    proxy.on("POST", "^/token", exchanged)
    proxy.on("GET", "/v2/", guarded(bearer(f"{proxy.url}/token"), "Bearer good"))

    with registry_with(proxy.host, Credentials(identity_token="refresh&me")) as registry:
        pull(registry, blobs)
    assert b"grant_type=refresh_token" in forms[0]
    assert b"refresh_token=refresh%26me" in forms[0]


def test_a_token_that_has_run_out_is_fetched_anew(proxy: FaultProxy, blobs: Blobs) -> None:
    proxy.on("GET", "^/token", token("first"), times=1)
    proxy.on("GET", "^/token", token("second"))
    proxy.on("GET", "/manifests/", guarded(bearer(f"{proxy.url}/token"), "Bearer first"))
    proxy.on("GET", "/v2/", guarded(bearer(f"{proxy.url}/token"), "Bearer second"))

    with registry_with(proxy.host) as registry:
        pull(registry, blobs)
    assert proxy.count("GET", "^/token") == 2


def test_a_token_that_is_never_accepted_is_not_fetched_for_ever(proxy: FaultProxy, blobs: Blobs) -> None:
    proxy.on("GET", "^/token", token("bad"))
    proxy.on("GET", "/v2/", guarded(bearer(f"{proxy.url}/token"), "Bearer good"))

    with registry_with(proxy.host) as registry, pytest.raises(RegistryError, match="401: who are you"):
        pull(registry, blobs)
    assert proxy.count("GET", "^/token") == 1


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (answer(401, b'{"details": "incorrect username or password"}'), "the login: .*incorrect username or password"),
        (answer(200, b"nonsense"), "no JSON"),
        (answer(200, b"{}"), "no token in it"),
        (token("a\r\nX-Evil: 1"), "no token in it"),
        (answer(302, Location="http://127.0.0.3/"), "the login: the registry refused"),
    ],
)
def test_a_token_server_that_gives_none_is_said_to(proxy: FaultProxy, blobs: Blobs, fault: Fault, said: str) -> None:
    proxy.on("GET", "^/token", fault)
    proxy.on("GET", "/v2/", guarded(bearer(f"{proxy.url}/token"), "Bearer good"))

    with registry_with(proxy.host) as registry, pytest.raises(RegistryError, match=f"^{proxy.host}/team/app: .*{said}"):
        pull(registry, blobs)


def test_a_token_server_that_fails_for_the_moment_is_asked_again(proxy: FaultProxy, blobs: Blobs) -> None:
    proxy.on("GET", "^/token", answer(503), times=2)
    proxy.on("GET", "^/token", token("good"))
    proxy.on("GET", "/v2/", guarded(bearer(f"{proxy.url}/token"), "Bearer good"))

    with registry_with(proxy.host) as registry:
        pull(registry, blobs)


@pytest.mark.parametrize(
    ("challenge", "said"),
    [
        (bearer("http://auth.example/token"), "the token server is refused: auth.example is to be spoken to over plain http"),
        ('Bearer service="x"', "names no server"),
        ("Negotiate", "wants a login"),
        ("", "wants a login"),
    ],
)
def test_a_challenge_that_cannot_be_met_is_refused(proxy: FaultProxy, blobs: Blobs, challenge: str, said: str) -> None:
    proxy.on("GET", "/v2/", guarded(challenge, "never"))

    with registry_with(proxy.host) as registry, pytest.raises(RegistryError, match=said):
        pull(registry, blobs)


@pytest.mark.parametrize("host", ["http://registry.example", "http://10.0.0.1:5000"])
def test_plain_http_is_for_loopback_unless_it_is_asked_for(host: str) -> None:
    with pytest.raises(ImageError, match="plain http"):
        Registry(host)
    Registry(host, insecure=True).close()


def test_the_login_of_the_users_configuration_is_found(
    behind_basic: FaultProxy, blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = base64.b64encode(b"tester:pass:word").decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {behind_basic.host: {"auth": encoded}}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))

    with Registry(behind_basic.host, patience=QUICK) as registry:
        pull(registry, blobs)
