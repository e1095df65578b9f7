"""`lxsandbox image lock`: pin images by digest, in a file that goes with the tests."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

import click

from lxsandbox.cli.output import json_option, print_json
from lxsandbox.cli.waiting import slow_notice
from lxsandbox.defaults import LOCK_NAME
from lxsandbox.errors import ImageError
from lxsandbox.images.fetching import open_registry
from lxsandbox.images.lock import Digests, Lock, check_lockable
from lxsandbox.images.references import RegistryReference
from lxsandbox.images.registry import resolve_image
from lxsandbox.images.store.folder import write_whole
from lxsandbox.images.transports import Transports

__all__ = ["lock_images"]


@click.command("lock", short_help="Pin images by digest, in a file.")
@click.option("--file", "path", metavar="FILE", default=LOCK_NAME, help=f"The lock; {LOCK_NAME} in this folder by default.")
@click.option("--check", is_flag=True, help="Write nothing, and exit with 1 where something would be written.")
@json_option
@click.argument("names", metavar="[NAME...]", nargs=-1)
def lock_images(names: tuple[str, ...], path: str, check: bool, as_json: bool) -> int:
    """Ask the registries what the images NAME are now, for every platform, and write it to the lock; without a NAME, all in it.

    No layer is fetched. `pytest --sandbox-locked`, and `--locked` of `run`, `shell` and `image pull`, take images as the lock has
    them. To take one out of it, remove its lines.

    --json prints a list of objects: name, reference (with everything filled in), state (added, changed, unchanged) and digests
    by platform.
    """
    path = os.path.abspath(path)
    lock = Lock.read(path)
    wanted = _wanted(names, lock)
    found = {reference: _resolved(reference) for reference in wanted}
    states = {reference: _state(lock.images.get(reference), digests) for reference, digests in found.items()}
    has_news = set(states.values()) - {"unchanged"}
    if has_news and not check:
        write_whole(path, lock.with_images(found).as_text().encode())
    _show(states, found, as_json=as_json)
    return 1 if check and has_news else 0


def _wanted(names: Iterable[str], lock: Lock) -> list[RegistryReference]:
    transports = Transports()
    named = [check_lockable(transports.parse(name, base=os.getcwd())) for name in names]
    if not (wanted := named or list(lock.images)):
        raise ImageError(f"there are no images in {lock.path} yet", hint="name them: `lxsandbox image lock NAME...`")
    return wanted


def _resolved(reference: RegistryReference) -> Digests:
    with slow_notice(f"asking for {reference.familiar()}"), open_registry(reference.host) as registry:
        return resolve_image(registry, reference.repository, reference.digest or reference.tag)


def _state(before: Digests | None, now: Digests) -> str:
    return "added" if before is None else "unchanged" if before == now else "changed"


def _show(states: Mapping[RegistryReference, str], found: Mapping[RegistryReference, Digests], *, as_json: bool) -> None:
    if not as_json:
        for reference, state in states.items():
            click.echo(f"{state}: {reference.familiar()} ({', '.join(sorted(map(str, found[reference])))})")
        return
    rows = [
        {
            "name": reference.familiar(),
            "reference": str(reference),
            "state": state,
            "digests": {str(platform): digest for platform, digest in found[reference].items()},
        }
        for reference, state in states.items()
    ]
    print_json(rows)
