"""The sandboxes of this process: its one connection to the run's service, and what each test, or the session, holds.

Under xdist every worker has such a connection, and all of them one service, in a run folder whose name the controller chose.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from lxsandbox.defaults import LOCK_NAME, with_defaults
from lxsandbox.errors import SandboxError
from lxsandbox.sandbox.connection import ServiceConnection
from lxsandbox.sandbox.images import asked, find_image
from lxsandbox.sandbox.network import Network
from lxsandbox.sandbox.sandbox import Sandbox
from lxsandbox.service.run_folder import let_go, make_run_folder
from lxsandbox.spec import SandboxSpec
from pytest_lxsandbox import totals, workers
from pytest_lxsandbox.figures import Figures
from pytest_lxsandbox.keys import MADE, RUN
from pytest_lxsandbox.options import image_cache, settings

if TYPE_CHECKING:
    from lxsandbox.errors import Death
    from lxsandbox.image import Image

__all__ = ["Maker", "Run", "finish", "image_of", "network_of", "sandboxes_of", "tell_death"]

Node = pytest.Item | pytest.Session


class Run:
    """The connection of this process, opened by the first test that asks, and what was asked through it."""

    def __init__(self, config: pytest.Config) -> None:
        chosen = settings(config)
        self.folder = make_run_folder(workers.run_name(config))
        try:
            self._connection = ServiceConnection.open(
                self.folder,
                label=workers.worker_name(config),
                pull=chosen.pull,
                offline=chosen.offline,
                lock=config.rootpath / LOCK_NAME if chosen.locked else None,
                cache_dir=image_cache(config),
                cache_size=chosen.cache_size,
            )
        except BaseException:
            _remove(self.folder)
            raise
        self._prewarm = chosen.prewarm
        self._warm: list[SandboxSpec] = []
        self._unheld: set[str] = set()
        self.deaths_told: set[str] = set()

    def start(self, spec: SandboxSpec, keep: Callable[[Sandbox], None]) -> Sandbox:
        """A new sandbox, and, with `--sandbox-prewarm`, others of its shape made ready behind it; `keep` gets its forks."""
        full, required = with_defaults(spec)
        sandbox = Sandbox.from_spec(full, required=required, connection=self._connection, keep=keep)
        self._unheld.update(sandbox.unheld)
        if self._prewarm and full not in self._warm:
            self._warm.append(full)
            self._connection.request("prewarm", spec=asked(full), required=required, count=self._prewarm)
        return sandbox

    def network(self) -> Network:
        """A new network."""
        return Network(connection=self._connection)

    def image(self, reference: str | Image) -> Image:
        """The image of this run that `reference` names: fetched, or made, by whichever process asks first. Raises ImageError."""
        return find_image(self._connection, reference)

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        """What the service says of the run. Raises SandboxError."""
        return self._connection.request(op, **fields)

    def leave(self) -> Figures:
        """Have everything removed, and the figures of it all."""
        let_go(self.folder)  # or the service could not remove it
        try:
            figures = self._connection.request("figures")
        finally:
            leaked = self._connection.leave()  # closes the connection, also where the service is lost
        return Figures(**figures, leaked=leaked, unheld=sorted(self._unheld))


def _run_of(config: pytest.Config) -> Run:
    if (run := config.stash.get(RUN, None)) is None:
        run = config.stash[RUN] = Run(config)
    return run


def image_of(config: pytest.Config, reference: str | Image) -> Image:
    """The image that `reference` names, there to the last byte. Raises ImageError."""
    return _run_of(config).image(reference)


def _remove(folder: str) -> None:
    """Remove what a service that did not do so itself has left, unless another process still uses the run."""
    from lxsandbox.service.leftovers import leave_run

    leave_run(folder)


def finish(config: pytest.Config) -> None:
    """Leave the service, and count in what the sandboxes of this process took and left behind."""
    run = config.stash[RUN]
    del config.stash[RUN]
    try:
        figures = run.leave()
    except (SandboxError, OSError):
        figures = Figures(sandboxes=1, leaked=None)
        _remove(run.folder)
    if not workers.report_figures(config, figures.as_json()):
        totals.add(config, figures.as_json())


class Maker:
    """Makes sandboxes for one test, or for the session, and closes them in reverse order."""

    def __init__(self, node: Node, stack: ExitStack) -> None:
        self._node = node
        self._stack = stack

    def make(self, image: str | None = None, **fields: Any) -> Sandbox:
        """A running sandbox with these fields of SandboxSpec; what is not given is as the options have it, or the default."""
        if image is not None:
            fields["image"] = image
        chosen = settings(self._node.config).fields
        spec = SandboxSpec.from_fields(fields | {name: value for name, value in chosen.items() if fields.get(name) is None})
        spec = self._node.ihook.pytest_sandbox_spec(item=self._node, spec=spec) or spec
        sandbox = _run_of(self._node.config).start(spec, self._keep)
        self._keep(sandbox)
        return sandbox

    def _keep(self, sandbox: Sandbox) -> None:
        self._stack.callback(_close, sandbox, self._node)
        self._node.stash.setdefault(MADE, []).append(sandbox)
        self._node.ihook.pytest_sandbox_started(sandbox=sandbox)


@contextmanager
def network_of(config: pytest.Config) -> Generator[Network]:
    """A network that is gone when the block ends; sandboxes that are still in it go on without it."""
    network = _run_of(config).network()
    with network:
        yield network


@contextmanager
def sandboxes_of(node: Node) -> Generator[Maker]:
    """A maker of sandboxes that are gone when the block ends; one that cannot be closed does not keep the others."""
    with ExitStack() as stack:
        yield Maker(node, stack)


def _close(sandbox: Sandbox, node: Node) -> None:
    sandbox.close()
    tell_death(sandbox, node)


def tell_death(sandbox: Sandbox, node: Node) -> Death | None:
    """Why the sandbox has ended, None while it runs; the hook hears it once, of one that ended before it was closed."""
    if sandbox.death is None and sandbox.state == "exited":
        with suppress(SandboxError):
            sandbox.run(["true"])  # whatever is asked of one that has ended is answered with its cause
    death, run = sandbox.death, node.config.stash.get(RUN, None)
    if death is not None and death.reason != "closed" and run is not None and sandbox.id not in run.deaths_told:
        run.deaths_told.add(sandbox.id)
        node.ihook.pytest_sandbox_died(sandbox=sandbox, death=death)
    return death
