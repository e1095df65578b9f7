"""Images in a run of pytest, from a real registry: the fixture that gives them, and the lock that pins them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from images.registry.fault_proxy import FaultProxy, running_proxy
from images_real.conftest import Shelf, place, registry, shelf, store
from needs import needs

pytestmark = needs("user-namespaces", "overlayfs", "libseccomp", "busybox", "docker-registry")

__all__ = ["place", "registry", "shelf", "store"]

_ROOT_SAYS = "def test_it(make_sandbox): assert make_sandbox({image!r}).path('/text').read_text() == {text!r}"
Lock = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def proxy(registry: str) -> FaultProxy:
    """In front of the registry; what it was asked is remembered."""
    with running_proxy(registry) as proxy:
        yield proxy


@pytest.fixture
def lxsandbox(pytester: pytest.Pytester, store: Path) -> Lock:
    """Run `lxsandbox` in the folder of the inner run; it must succeed."""

    def lxsandbox(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "lxsandbox.cli", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd=pytester.path, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done

    return lxsandbox


# sandbox_image


def test_the_fixture_fetches_once_for_all_workers_and_says_what_the_image_is(
    pytester: pytest.Pytester, store: Path, shelf: Shelf, registry: str, proxy: FaultProxy
) -> None:
    image = shelf.push(registry, "team/app", "hello", exposed_ports=("5432/tcp",), labels={"a": "b"})
    pytester.makepyfile(
        f"""
        import pytest

        @pytest.fixture(scope="session")
        def app(sandbox_image):
            return sandbox_image({image.replace(registry, proxy.host)!r})

        @pytest.mark.parametrize("x", range(4))
        def test_it(app, x, make_sandbox):
            assert (app.ports, app.labels) == (("5432/tcp",), {{"a": "b"}})
            assert app.digest.startswith("sha256:")
            assert make_sandbox(app).path("/text").read_text() == "hello"
        """
    )

    pytester.runpytest("-n2").assert_outcomes(passed=4)

    assert proxy.count("GET", "/blobs/") == 2  # one layer, one configuration


def test_an_image_beside_the_tests_is_found_from_there(pytester: pytest.Pytester, store: Path, shelf: Shelf) -> None:
    Path(shelf.layout("hello").removeprefix("oci:").removesuffix(":it")).rename(pytester.path / "layout")
    pytester.makepyfile(
        """
        def test_it(sandbox_image, make_sandbox, tmp_path, monkeypatch):
            image = sandbox_image("oci:layout:it")
            monkeypatch.chdir(tmp_path)
            assert make_sandbox(image).path("/text").read_text() == "hello"

        def test_host(sandbox_image):
            assert str(sandbox_image("host")) == "host"
        """
    )

    pytester.runpytest().assert_outcomes(passed=2)


def test_an_image_that_is_not_there_is_an_error_that_says_so(pytester: pytest.Pytester, store: Path, registry: str) -> None:
    pytester.makepyfile(f"def test_it(sandbox_image): sandbox_image('{registry}/team/nowhere')")

    result = pytester.runpytest()

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"E *ImageError: {registry}/team/nowhere: *"])


# lxsandbox.lock


def test_a_locked_run_takes_what_the_lock_says_and_not_what_the_tag_is_now(
    pytester: pytest.Pytester, shelf: Shelf, registry: str, lxsandbox: Lock
) -> None:
    image = shelf.push(registry, "team/app", "then")
    lxsandbox("image", "lock", image)
    shelf.push(registry, "team/app", "now")
    lxsandbox("image", "pull", image)  # the store has it by its tag
    pytester.makepyfile(_ROOT_SAYS.format(image=image, text="then"))

    pytester.runpytest("-n1", "--sandbox-locked").assert_outcomes(passed=1)
    pytester.makeini("[pytest]\nsandbox_locked = true")
    pytester.runpytest().assert_outcomes(passed=1)
    pytester.makepyfile(_ROOT_SAYS.format(image=image, text="now"))
    pytester.makeini("[pytest]")
    pytester.runpytest().assert_outcomes(passed=1)


def test_a_run_that_is_locked_and_offline_touches_no_network_after_a_locked_pull(
    pytester: pytest.Pytester, shelf: Shelf, registry: str, lxsandbox: Lock
) -> None:
    with running_proxy(registry) as proxy:
        image = shelf.push(registry, "team/app", "hello").replace(registry, proxy.host)
        lxsandbox("image", "lock", image)
        (pulled,) = json.loads(lxsandbox("image", "pull", "--locked", "--json").stdout)
    assert pulled["reference"] == image
    pytester.makepyfile(_ROOT_SAYS.format(image=image, text="hello"))

    # The registry's host has gone: whoever asks it fails.
    pytester.runpytest("--sandbox-locked", "--sandbox-offline").assert_outcomes(passed=1)
    pytester.runpytest("--sandbox-offline").assert_outcomes(passed=1)
    pytester.runpytest("--sandbox-locked", "--sandbox-pull=always").assert_outcomes(passed=1)


def test_a_locked_run_takes_what_it_has_made_itself_of_what_is_locked(
    pytester: pytest.Pytester, shelf: Shelf, registry: str, lxsandbox: Lock
) -> None:
    image = shelf.push(registry, "team/app", "hello")
    lxsandbox("image", "lock", image)
    pytester.makepyfile(
        f"""
        def test_it(make_sandbox):
            box = make_sandbox({image!r})
            box.path("/new").write_text("mine")
            assert make_sandbox(box.snapshot("mine")).path("/new").read_text() == "mine"
            assert box.fork().path("/new").read_text() == "mine"
        """
    )

    pytester.runpytest("--sandbox-locked").assert_outcomes(passed=1)


def test_an_image_that_is_not_pinned_fails_its_test_with_the_command_that_adds_it(
    pytester: pytest.Pytester, shelf: Shelf, registry: str, lxsandbox: Lock
) -> None:
    image = shelf.push(registry, "team/app", "hello")
    pytester.makepyfile(_ROOT_SAYS.format(image=image, text="hello"))

    result = pytester.runpytest("--sandbox-locked")

    result.assert_outcomes(failed=1)
    lock = f"{pytester.path}/lxsandbox.lock"
    command = f"lxsandbox image lock --file {lock} {image}"
    result.stdout.fnmatch_lines([f"E *image {image} is not pinned in {lock}", f"E *hint: add it: `{command}`"])
    lxsandbox(*command.split()[1:])
    pytester.runpytest("--sandbox-locked").assert_outcomes(passed=1)


def test_a_locked_run_takes_host_and_refuses_what_no_lock_can_pin(pytester: pytest.Pytester, store: Path) -> None:
    pytester.makepyfile(
        """
        def test_host(sandbox): sandbox.run(["true"], check=True)
        def test_dir(make_sandbox): make_sandbox("dir:/")
        """
    )

    result = pytester.runpytest("--sandbox-locked")

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["E *image dir:/ cannot be locked: it is in a file or folder*"])
