"""`lxsandbox image build`: from a Containerfile to an image, by a service that carries out the steps in sandboxes."""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any

import click

from lxsandbox.cli.image.stored import facts_of
from lxsandbox.cli.image.transferring import shown_progress
from lxsandbox.cli.interrupts import raised_as_exceptions
from lxsandbox.cli.output import json_option, print_json
from lxsandbox.errors import ServiceLost
from lxsandbox.images.build_reference import BuildReference
from lxsandbox.images.library import Library
from lxsandbox.images.path_references import check_path_exists
from lxsandbox.images.registry.progress import Progress
from lxsandbox.remote_errors import error_from_wire
from lxsandbox.sandbox.connection import ServiceConnection

__all__ = ["build_image"]


def _arguments(_context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    # As other tools have it: without a value, it is the variable of that name.
    whole = tuple(text if "=" in text else f"{text}={os.environ[text]}" for text in given if "=" in text or text in os.environ)
    if len(whole) < len(given):
        missing = next(text for text in given if "=" not in text and text not in os.environ)
        raise click.BadParameter(f"{missing!r} is not NAME=VALUE, and no variable of the environment", param=parameter)
    return whole


@click.command("build", short_help="Build an image from a Containerfile.")
@click.option("-t", "--tag", "name", metavar="NAME", required=True, help="What the image is called.")
@click.option("-f", "--file", metavar="FILE", default="", help="The Containerfile, where it is another than DIR's own.")
@click.option("--build-arg", "args", metavar="NAME[=VALUE]", multiple=True, callback=_arguments, help="A value for an ARG.")
@click.option("--target", metavar="STAGE", default="", help="The stage to build; the last one by default.")
@click.option("--no-cache", is_flag=True, help="Carry out all steps, also those whose results are stored.")
@click.option("--pull", is_flag=True, help="Ask registries for the images of FROM, also for those that are here.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
@json_option
@click.argument("folder", metavar="DIR")
def build_image(
    name: str,
    file: str,
    args: tuple[str, ...],
    target: str,
    no_cache: bool,
    pull: bool,
    quiet: bool,
    as_json: bool,
    folder: str,
) -> None:
    """Build the Containerfile, or Dockerfile, in the folder DIR as image NAME. Prints the digest of its manifest.

    Steps whose results are stored are not carried out again. What .dockerignore names is not there for COPY and ADD.

    --json prints an object: name, reference (with everything filled in), digest.
    """
    path = os.path.abspath(folder)
    check_path_exists("build", path)
    reference = BuildReference(path=path, file=os.path.abspath(file) if file else "", target=target, args=args)
    full = str(Library().new_name(name))
    fields = {"reference": str(reference), "name": full, "fresh": no_cache, "pull": "always" if pull else "missing"}
    with shown_progress(quiet=quiet) as progress:
        digest = _built(fields, progress)
    if as_json:
        print_json(facts_of(full, digest))
    else:
        click.echo(digest)


def _built(fields: dict[str, Any], progress: Progress) -> str:
    with raised_as_exceptions():
        connection = ServiceConnection.open(label="image build")
        try:
            return _followed(connection.request_fd("image_build", **fields), progress)
        finally:
            with contextlib.suppress(ServiceLost):
                connection.leave()


def _followed(pipe: int, progress: Progress) -> str:
    """Pass on what is told; the digest at the end. Raises the error that is told, or ServiceLost."""
    with open(pipe, encoding="utf-8") as lines:
        for line in lines:
            told: dict[str, Any] = json.loads(line)
            if "error" in told:
                raise error_from_wire(told["error"])
            match told:
                case {"step": str(text)}:
                    progress.step(text)
                case {"output": str(text)}:
                    progress.output(text)
                case {"begin": str(digest), "size": int(size)}:
                    progress.begin(digest, size)
                case {"advance": str(digest), "count": int(count)}:
                    progress.advance(digest, count)
                case {"end": str(digest)}:
                    progress.end(digest)
                case {"done": str(digest)}:
                    return digest
                case _:
                    continue
    raise ServiceLost("the sandbox service that built the image has gone", hint="it was killed, or crashed; build it again")
