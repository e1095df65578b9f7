"""Throwaway Linux containers for tests, usable without pytest: the public names, each loaded when first asked for."""

TYPE_CHECKING = False  # type checkers take it for true; importing `typing` for it would load `re` and more
if TYPE_CHECKING:
    from lxsandbox.conditions import Command, File, Healthy, Http, Log, Port
    from lxsandbox.errors import HostUnsupported, ImageError, SandboxDied, SandboxError
    from lxsandbox.image import Image
    from lxsandbox.sandbox.changes import Change
    from lxsandbox.sandbox.network import Network
    from lxsandbox.sandbox.path import SandboxPath
    from lxsandbox.sandbox.process import Process
    from lxsandbox.sandbox.sandbox import Sandbox
    from lxsandbox.sandbox.stats import Stats
    from lxsandbox.spec import Bind, SandboxSpec, Tmpfs

__all__ = [
    "Bind",
    "Change",
    "Command",
    "File",
    "Healthy",
    "HostUnsupported",
    "Http",
    "Image",
    "ImageError",
    "Log",
    "Network",
    "Port",
    "Process",
    "Sandbox",
    "SandboxDied",
    "SandboxError",
    "SandboxPath",
    "SandboxSpec",
    "Stats",
    "Tmpfs",
]

_HOMES = {
    "Bind": "lxsandbox.spec",
    "Change": "lxsandbox.sandbox.changes",
    "Command": "lxsandbox.conditions",
    "File": "lxsandbox.conditions",
    "Healthy": "lxsandbox.conditions",
    "HostUnsupported": "lxsandbox.errors",
    "Http": "lxsandbox.conditions",
    "Image": "lxsandbox.image",
    "ImageError": "lxsandbox.errors",
    "Log": "lxsandbox.conditions",
    "Network": "lxsandbox.sandbox.network",
    "Port": "lxsandbox.conditions",
    "Process": "lxsandbox.sandbox.process",
    "Sandbox": "lxsandbox.sandbox.sandbox",
    "SandboxDied": "lxsandbox.errors",
    "SandboxError": "lxsandbox.errors",
    "SandboxPath": "lxsandbox.sandbox.path",
    "SandboxSpec": "lxsandbox.spec",
    "Stats": "lxsandbox.sandbox.stats",
    "Tmpfs": "lxsandbox.spec",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # here: `import lxsandbox` alone loads nothing

    value: object = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
