"""Logins are found where docker and podman keep them, and what is wrong there is named."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from lxsandbox import ImageError
from lxsandbox.images.registry import Credentials, credentials, find_credentials

ALICE = Credentials(username="alice", password="s:ecret")


def auth(text: str = "alice:s:ecret") -> dict[str, str]:
    return {"auth": base64.b64encode(text.encode()).decode()}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, with nothing in it."""
    for name in ("DOCKER_CONFIG", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def docker(home: Path, **content: Any) -> Path:
    return write(home / ".docker/config.json", content)


def helper(home: Path, monkeypatch: pytest.MonkeyPatch, script: str, name: str = "test") -> None:
    path = write(home / f"bin/docker-credential-{name}", f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:/usr/bin:/bin")


def test_where_there_are_no_files_there_is_no_login(home: Path) -> None:
    assert find_credentials("registry.example", "team/app") is None


@pytest.mark.parametrize(
    "key",
    ["registry.example:5000", "https://registry.example:5000", "http://registry.example:5000/v2/", "registry.example:5000/v1/"],
)
def test_dockers_login_is_found_however_it_writes_the_host(home: Path, key: str) -> None:
    docker(home, auths={"other.example": auth("bob:x"), key: auth()})

    assert find_credentials("registry.example:5000", "team/app") == ALICE
    assert find_credentials("registry.example", "team/app") is None


def test_docker_hub_has_one_login_under_all_its_names(home: Path) -> None:
    docker(home, auths={"https://index.docker.io/v1/": auth()})

    assert find_credentials("registry-1.docker.io", "library/alpine") == ALICE


def test_docker_config_names_the_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docker(home, auths={"registry.example": auth("bob:x")})
    write(home / "elsewhere/config.json", {"auths": {"registry.example": auth()}})
    monkeypatch.setenv("DOCKER_CONFIG", str(home / "elsewhere"))

    assert find_credentials("registry.example", "team/app") == ALICE


def test_podmans_login_is_found_where_docker_has_none(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docker(home, auths={"other.example": auth("bob:x")})
    write(home / "run/containers/auth.json", {"auths": {"registry.example": auth()}})
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home / "run"))

    assert find_credentials("registry.example", "team/app") == ALICE


def test_podmans_login_for_a_repository_goes_before_the_one_for_its_registry(home: Path) -> None:
    docker(home, auths={"registry.example": auth("bob:x"), "registry.example/team": auth()})

    assert find_credentials("registry.example", "team/app") == ALICE
    assert find_credentials("registry.example", "teams/app") == Credentials(username="bob", password="x")


def test_an_identity_token_goes_before_a_password(home: Path) -> None:
    docker(home, auths={"registry.example": {**auth(), "identitytoken": "token"}})

    assert find_credentials("registry.example", "x") == Credentials(identity_token="token")


@pytest.mark.parametrize("how", [{"credHelpers": {"registry.example": "test"}}, {"credsStore": "test"}])
def test_a_helper_is_asked_for_the_login(home: Path, monkeypatch: pytest.MonkeyPatch, how: dict[str, Any]) -> None:
    docker(home, auths={"registry.example": {}}, **how)
    helper(
        home,
        monkeypatch,
        """[ "$1" = get ] && printf '{"Username": "alice", "Secret": "s:ecret", "ServerURL": "%s"}' "$(cat)" """,
    )

    assert find_credentials("registry.example", "x") == ALICE


def test_a_helper_is_asked_by_the_name_that_docker_has_for_its_hub(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docker(home, credsStore="test")
    helper(home, monkeypatch, """printf '{"Username": "<token>", "Secret": "%s"}' "$(cat)" """)

    assert find_credentials("registry-1.docker.io", "x") == Credentials(identity_token="https://index.docker.io/v1/")


def test_what_a_helper_does_not_have_is_looked_for_in_the_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docker(home, auths={"registry.example": auth()}, credsStore="test")
    helper(home, monkeypatch, "echo credentials not found in native keychain; exit 1")

    assert find_credentials("registry.example", "x") == ALICE


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo the keyring is locked; exit 3", "docker-credential-test failed with 3: the keyring is locked"),
        ("echo no display >&2; exit 1", "failed with 1: no display"),
        ("echo nonsense", "the answer of docker-credential-test is no JSON"),
        ("echo '{}'", "has no Username and Secret"),
    ],
)
def test_a_helper_that_fails_is_named_with_what_it_says(
    home: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    docker(home, credsStore="test")
    helper(home, monkeypatch, script)

    with pytest.raises(ImageError, match=said):
        find_credentials("registry.example", "x")


def test_a_helper_that_hangs_is_ended_with_all_it_started(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "_HELPER_SECONDS", 0.2)
    docker(home, credsStore="test")
    helper(home, monkeypatch, "sleep 1000 & sleep 1000")

    with pytest.raises(ImageError, match="docker-credential-test gave no login within"):
        find_credentials("registry.example", "x")


def test_a_helper_that_is_not_there_is_named_with_the_file_that_names_it(home: Path) -> None:
    path = docker(home, credsStore="desktop")

    with pytest.raises(ImageError, match="docker-credential-desktop cannot be started") as caught:
        find_credentials("registry.example", "x")
    assert str(path) in caught.value.hint


@pytest.mark.parametrize("name", ["../../bin/sh", "a b", "", 5])
def test_what_is_no_name_of_a_helper_is_not_started(home: Path, name: object) -> None:
    docker(home, credHelpers={"registry.example": name})

    if name:
        with pytest.raises(ImageError, match="not the name of a credential helper"):
            find_credentials("registry.example", "x")
    else:
        assert find_credentials("registry.example", "x") is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "config.json is no JSON"),
        ("[]", "no JSON object"),
        ('{"auths": []}', "auths is no JSON object"),
        ('{"auths": {"registry.example": 5}}', "registry.example is no JSON object"),
        ('{"auths": {"registry.example": {"auth": "%%%"}}}', "`auth` is not the base64"),
        ('{"auths": {"registry.example": {"auth": "YWxpY2U="}}}', "`auth` is not the base64"),
        ('{"auths": {"registry.example": {"auth": 5}}}', "`auth` is not the base64"),
    ],
)
def test_a_file_that_is_damaged_is_named(home: Path, content: str, said: str) -> None:
    write(home / ".docker/config.json", content)

    with pytest.raises(ImageError, match=said):
        find_credentials("registry.example", "x")


def test_a_login_does_not_show_its_secrets() -> None:
    assert "s:ecret" not in repr(ALICE)
    assert "token1" not in repr(Credentials(identity_token="token1"))
