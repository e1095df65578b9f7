"""Program: `packing.py IMAGE SCRIPT` runs a shell script in a sandbox, and writes what it has changed to stdout, as a layer.

Everything of the service's is made here: no client asks for layers as such. With a third argument the sandbox has no groups.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from types import SimpleNamespace

from lxsandbox.cgroups import open_tree
from lxsandbox.cgroups.limits import Lack
from lxsandbox.cgroups.machine import Machine
from lxsandbox.cgroups.none import TreeNone
from lxsandbox.errors import SandboxError
from lxsandbox.sandbox.channel import Channel
from lxsandbox.sandbox.commands import command_fields, run_command
from lxsandbox.sandbox.control import Control
from lxsandbox.service.factory import Factory
from lxsandbox.service.facts import collect_facts
from lxsandbox.service.identity import choose_mapping
from lxsandbox.service.run import Run
from lxsandbox.service.spawner_link import SpawnerLink
from lxsandbox.spec import Limits, SandboxSpec

CLIENT = SimpleNamespace(env={}, visible={}, pull="missing", offline=False, lock="")


async def packed(image: str, script: str, folder: str, *, groups: bool) -> None:
    mapping = choose_mapping()
    name = os.path.basename(folder)
    tree = open_tree(name) if groups else TreeNone(Lack("no groups were asked for", "ask for them"), Machine())
    spawner = SpawnerLink(mapping, idmap=not mapping.spawner_uids, descriptors=(1024, 1024))
    await spawner.start()
    run = Run(name, Factory(folder, tree, spawner, collect_facts(mapping), mapping))
    try:
        box, channel, _ = await run.create(SandboxSpec(image=image), Limits(), CLIENT)
        control = Control(Channel(channel), SimpleNamespace(), box.id, box.name)
        fields = command_fields(["sh", "-c", script], env=None, cwd=None, user=None)
        options = {"data": b"", "capture_output": False, "text": True, "check": True, "timeout": 60}
        await asyncio.to_thread(run_command, control, fields, **options)
        await run.factory.pack(box, sys.stdout.fileno())
        control.channel.close()
    finally:
        await run.close(20)
        spawner.stop()


def main() -> None:
    image, script, *rest = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="lxsandbox-packing-") as folder:
        try:
            asyncio.run(packed(image, script, folder, groups=not rest))
        except SandboxError as error:
            sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
