"""The group `lxsandbox image`, whose commands are loaded when they are asked for."""

from __future__ import annotations

import click

from lxsandbox.cli.lazy import LazyGroup

__all__ = ["image"]

_COMMANDS = {
    "ls": "lxsandbox.cli.image.listing:list_images",
    "inspect": "lxsandbox.cli.image.inspecting:inspect_image",
    "history": "lxsandbox.cli.image.history:show_history",
    "diff": "lxsandbox.cli.image.differing:diff_images",
    "pull": "lxsandbox.cli.image.pulling:pull_image",
    "push": "lxsandbox.cli.image.pushing:push_image",
    "build": "lxsandbox.cli.image.building:build_image",
    "import": "lxsandbox.cli.image.importing:import_image",
    "export": "lxsandbox.cli.image.exporting:export_image",
    "tag": "lxsandbox.cli.image.tagging:tag_image",
    "lock": "lxsandbox.cli.image.locking:lock_images",
    "rm": "lxsandbox.cli.image.removing:remove_images",
    "prune": "lxsandbox.cli.image.pruning:prune_images",
}


@click.group(cls=LazyGroup, places=_COMMANDS, short_help="Images: list, fetch, build, import, export, remove.")
def image() -> None:
    """Look at this user's images, fetch others, and remove what is not needed.

    An image is called by the NAME that it has, or would have, in a registry: `mine`, `team/app:1`, `ghcr.io/team/app@sha256:...`.
    """
