"""The fixtures: each a `with` and a `yield`; the work is in `pytest_lxsandbox.session`, loaded when a test asks."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from lxsandbox.image import Image
    from lxsandbox.sandbox.network import Network
    from lxsandbox.sandbox.sandbox import Sandbox

__all__ = ["make_sandbox", "sandbox", "sandbox_factory", "sandbox_image", "sandbox_network"]


@pytest.fixture
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """A running, throwaway Linux container for this test, as its `sandbox` marker says; without one, over the host's own files.

    Annotate it as `sandbox: lxsandbox.Sandbox`. It is gone when the test ends.
    """
    from pytest_lxsandbox.markers import fields_of
    from pytest_lxsandbox.session import sandboxes_of

    with sandboxes_of(request.node) as made:
        yield made.make(**fields_of(request.node))


@pytest.fixture
def make_sandbox(request: pytest.FixtureRequest) -> Iterator[Callable[..., Sandbox]]:
    """`make_sandbox(image="host", memory="64M", …) -> Sandbox`, any field of SandboxSpec; all are gone when the test ends."""
    from pytest_lxsandbox.session import sandboxes_of

    with sandboxes_of(request.node) as made:
        yield made.make


@pytest.fixture(scope="session")
def sandbox_factory(request: pytest.FixtureRequest) -> Iterator[Callable[..., Sandbox]]:
    """`sandbox_factory(image="host", memory="64M", …) -> Sandbox`; all are gone when the session of this process ends."""
    from pytest_lxsandbox.session import sandboxes_of

    with sandboxes_of(request.session) as made:
        yield made.make


@pytest.fixture
def sandbox_network(request: pytest.FixtureRequest) -> Iterator[Network]:
    """A private network for this test's sandboxes, which join it with `networks=[sandbox_network]`.

    In it they reach each other by name and by address, and nobody else can. It is gone when the test ends.
    """
    from pytest_lxsandbox.session import network_of

    with network_of(request.config) as network:
        yield network


@pytest.fixture(scope="session")
def sandbox_image(request: pytest.FixtureRequest) -> Callable[[str], Image]:
    """`sandbox_image("redis:7") -> Image`: fetched or made once for all workers of the run, and what it says of itself.

    What it returns is taken as `image=` by the other fixtures.
    """
    from pytest_lxsandbox.session import image_of

    return functools.partial(image_of, request.config)
