"""`lxsandbox image pull`: fetch an image, or what has become of it since, or what a lock pins."""

from __future__ import annotations

import os
from collections.abc import Sequence

import click

from lxsandbox.cli.image.stored import facts_of, parse_here
from lxsandbox.cli.image.transferring import shown_progress
from lxsandbox.cli.output import json_option, print_json
from lxsandbox.defaults import LOCK_NAME
from lxsandbox.errors import ImageError
from lxsandbox.images.documents import Platform
from lxsandbox.images.library import NAMED, Library, store_name
from lxsandbox.images.lock import Lock
from lxsandbox.images.platforms import parse_platform
from lxsandbox.images.references import Reference

__all__ = ["pull_image"]


def _platform(_context: click.Context, parameter: click.Parameter, text: str | None) -> Platform | None:
    if text is None:
        return None
    try:
        return parse_platform(text)
    except ImageError as error:
        raise click.BadParameter(error.message, param=parameter) from None


@click.command("pull", short_help="Fetch an image, or all that are locked.")
@click.option("--platform", metavar="OS/ARCH[/VARIANT]", callback=_platform, help="For which machine; this one by default.")
@click.option("--locked", is_flag=True, help="Fetch what the lock pins, NAME or all, by digest.")
@click.option("--file", "path", metavar="FILE", help=f"With --locked: the lock; {LOCK_NAME} in the current folder by default.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
@json_option
@click.argument("name", metavar="[NAME]", required=False)
def pull_image(name: str | None, platform: Platform | None, path: str | None, locked: bool, quiet: bool, as_json: bool) -> None:
    """Fetch the image NAME, also when there is one of that name: it may be another one now. Prints the digest of its manifest.

    What is in the store already is not fetched again; what was interrupted goes on where it was.

    With --locked, prints the name and the digest of each image. It is stored by both, so that runs find it that are offline,
    whether they are locked or not.

    --json prints an object, with --locked a list of them: name, reference (with everything filled in), digest.
    """
    if (path is not None or name is None) and not locked:
        raise click.UsageError("--file goes with --locked" if path is not None else "Missing argument 'NAME'.")
    library = Library(platform=platform)
    if locked:
        lock = Lock.read(os.path.abspath(path or LOCK_NAME))
        pulled = [_pulled_locked(library, lock, each, quiet=quiet) for each in _locked_here(library, lock, name)]
    else:
        pulled = [_pulled(library, parse_here(library, name or ""), quiet=quiet)]
    if as_json:
        rows = [facts_of(str(reference), digest) for reference, digest in pulled]
        print_json(rows if locked else rows[0])
        return
    for reference, digest in pulled:
        click.echo(f"{reference.familiar()} {digest}" if locked else digest)


def _pulled(library: Library, reference: Reference, *, quiet: bool) -> tuple[Reference, str]:
    if reference.transport not in NAMED:
        familiar = reference.familiar()
        hint = f"`lxsandbox image import {familiar} NAME` stores it; `lxsandbox run` takes it as it is"
        raise ImageError(f"image {familiar} is here already, and not in a registry", hint=hint)
    with shown_progress(quiet=quiet) as progress, library.get(reference, pull="always", progress=progress) as image:
        return reference, image.descriptor.digest


def _locked_here(library: Library, lock: Lock, name: str | None) -> Sequence[Reference]:
    """NAME, or all that the lock has for this platform; those that it has for others alone are told of."""
    if name is not None:
        return [parse_here(library, name)]
    if not lock.images:
        raise ImageError(f"there are no images in {lock.path}", hint="pin some: `lxsandbox image lock NAME...`")
    found: list[Reference] = []
    for reference in lock.images:
        if lock.has(reference, library.platform):
            found.append(reference)
        else:
            click.echo(f"left out: {reference.familiar()} is not pinned for {library.platform}", err=True)
    return found


def _pulled_locked(library: Library, lock: Lock, reference: Reference, *, quiet: bool) -> tuple[Reference, str]:
    pinned = lock.pinned(reference, library.platform)
    with shown_progress(quiet=quiet) as progress, library.get(pinned, progress=progress) as image:
        for each in (reference, pinned):
            if (called := store_name(each)) is not None:
                library.store.tag(called, image.descriptor)
        return reference, image.descriptor.digest
