"""Where images come from, as plug-ins: the built-in transports, and those that installed distributions add.

A distribution adds one with an entry point of the group `lxsandbox.transports`, whose name is the transport's, and whose value
is a plug-in: an object, mostly a module, with an implementation of the hook `lxsandbox_transport`. It is imported when an
image of that transport is asked for, and not before: one that is broken stands in the way of nothing else.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast, get_args, runtime_checkable

import pluggy

from lxsandbox.errors import ImageError
from lxsandbox.images.references import PARSERS, Reference, parse_reference

if TYPE_CHECKING:
    from lxsandbox.images.blobs import Blobs
    from lxsandbox.images.building import Workshops
    from lxsandbox.images.documents import Descriptor, Platform
    from lxsandbox.images.registry.progress import Progress

__all__ = ["ENTRY_POINTS", "Fetch", "FetchContext", "Hooks", "Pull", "Shelf", "Transport", "Transports", "hookimpl"]

ENTRY_POINTS = "lxsandbox.transports"

hookspec = pluggy.HookspecMarker("lxsandbox")
hookimpl = pluggy.HookimplMarker("lxsandbox")
"""Marks a plug-in's implementation of a hook."""

Pull = Literal["missing", "always", "never"]
"""When the source is asked: for what the store lacks, each time, or not at all."""


class Shelf(Protocol):
    """The images of a store, for who makes an image of others. What it gives is held until that image is made."""

    def parse(self, text: str, base: str) -> Reference:
        """The reference that `text` is, paths below `base`. Raises ImageError."""
        ...

    def image(self, reference: Reference) -> Descriptor:
        """The image, fetched where the store lacks it. Raises ImageError."""
        ...

    def named(self, name: str) -> Descriptor | None:
        """The image of that name in the store, if all of it is there."""
        ...

    def name(self, name: str, descriptor: Descriptor) -> None:
        """Let the name stand for the image from now on. Raises ImageError."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class FetchContext:
    """What a transport fetches into, and how. `offline` forbids the network, whatever `pull` says.

    For images that are made of others: `shelf` has those, `workshops` are where steps are carried out, and `fresh` asks for all
    steps to be, also those whose results are stored.
    """

    blobs: Blobs
    platform: Platform
    progress: Progress
    offline: bool = False
    pull: Pull = "missing"
    shelf: Shelf | None = None
    workshops: Workshops | None = None
    fresh: bool = False

    def __post_init__(self) -> None:
        if self.pull not in get_args(Pull):
            raise ImageError(f"pull policy {self.pull!r} is none", hint=f"it is one of {', '.join(get_args(Pull))}")


Fetch = Callable[[Any, FetchContext], "Descriptor"]
"""Gets the image of a reference that the transport's own parser has made; the descriptor is of its manifest, then in `blobs`."""


@runtime_checkable
class Transport(Protocol):
    """A source of images: `NAME:…` is read by `parse`, and what that returns is given to `fetch`."""

    @property
    def name(self) -> str:
        """What is written before the colon."""
        ...

    def parse(self, rest: str, base: str, /) -> Reference:
        """The reference that `NAME:` and `rest` are; paths are below `base`. Raises ImageError."""
        ...

    def fetch(self, reference: Any, context: FetchContext, /) -> Descriptor:
        """Put everything of the image into the context's blobs; return the descriptor of its manifest. Raises ImageError."""
        ...


class Hooks:
    """What a plug-in of the runtime may implement."""

    @hookspec
    def lxsandbox_transport(self) -> Transport:  # type: ignore[empty-body]
        """The transport of this plug-in; it has the name of its entry point."""


class _BuiltIn:
    """A transport of ours, and the plug-in that has it."""

    def __init__(self, name: str, fetch: Fetch | None) -> None:
        self.name = name
        self._fetch = fetch

    def parse(self, rest: str, base: str) -> Reference:
        return PARSERS[self.name](rest, base)

    def fetch(self, reference: Reference, context: FetchContext) -> Descriptor:
        if self._fetch is None:
            raise ImageError(
                f"images of transport {self.name} cannot be made by this version", hint="name an image that is made already"
            )
        return self._fetch(reference, context)

    @hookimpl
    def lxsandbox_transport(self) -> Transport:
        return self


class Transports:
    """The transports there are. `fetches` has what fetches for the built-in ones, one line for each:

        Transports({"docker": registry.fetch, "oci": layouts.fetch})

    Names are unique: one that two plug-ins have is refused whenever it is asked for.
    """

    def __init__(
        self,
        fetches: Mapping[str, Fetch] | None = None,
        *,
        installed: Callable[[], Iterable[EntryPoint]] = lambda: entry_points(group=ENTRY_POINTS),
    ) -> None:
        unknown = sorted(set(fetches or ()) - set(PARSERS))
        if unknown:
            raise ValueError(f"no built-in transport {', '.join(unknown)}; there are {', '.join(sorted(PARSERS))}")
        self._plugins = pluggy.PluginManager("lxsandbox")
        self._plugins.add_hookspecs(Hooks)
        for name in PARSERS:
            self._plugins.register(_BuiltIn(name, (fetches or {}).get(name)), name)
        self._installed = installed
        self._loading = threading.Lock()

    def names(self) -> list[str]:
        """The transports there are, whether they work or not."""
        return sorted(PARSERS.keys() | self._points.keys())

    def parse(self, text: str, *, base: str = "/", must_exist: bool = True) -> Reference:
        """As `parse_reference`, with the transports of plug-ins too. Raises ImageError."""
        if text == "host":  # of every sandbox with no image of its own; looking for plug-ins takes milliseconds
            return parse_reference(text)
        parsers = {name: functools.partial(self._parse_by, name) for name in self.names()}
        return parse_reference(text, base=base, must_exist=must_exist, parsers=parsers)

    def fetch(self, reference: Reference, context: FetchContext) -> Descriptor:
        """Get the image; the descriptor is of its manifest, which is in the context's blobs then. Raises ImageError."""
        return self.named(reference.transport).fetch(reference, context)

    def named(self, name: str) -> Transport:
        """The transport `name`. Raises ImageError when there is none, or are two, or when its plug-in is broken."""
        points = self._points.get(name, [])
        is_ours = name in PARSERS or (name == "host" and points)
        owners = ["lxsandbox itself"] if is_ours else []
        owners += sorted(f"distribution {_distribution(point)}" for point in points)
        if not owners:
            raise ImageError(f"there is no transport {name!r}", hint=f"there are {', '.join(self.names())}")
        if len(owners) > 1:
            raise ImageError(f"transport {name} is of {' and of '.join(owners)}", hint="uninstall all but one of them")
        if not points:
            return cast("Transport", self._transport_of(name))
        with self._loading:
            try:
                if not self._plugins.has_plugin(name):
                    self._plugins.register(points[0].load(), name)
                return _checked(name, self._transport_of(name))
            except Exception as error:  # what others have written may raise anything, and none of it is ours
                raise ImageError(
                    f"transport {name} of {owners[0]} is broken: {type(error).__name__}: {error}",
                    hint=f"update or uninstall {_distribution(points[0])}",
                ) from error

    @functools.cached_property
    def _points(self) -> dict[str, list[EntryPoint]]:
        found: dict[str, list[EntryPoint]] = {}
        for point in self._installed():
            found.setdefault(point.name, []).append(point)
        return found

    def _parse_by(self, name: str, rest: str, base: str) -> Reference:
        return self.named(name).parse(rest, base)

    def _transport_of(self, name: str) -> Any:
        # A hook asks every plug-in, and here it is for one.
        others = [plugin for other, plugin in self._plugins.list_name_plugin() if other != name]
        found = self._plugins.subset_hook_caller("lxsandbox_transport", others)()
        return found[0] if found else None


def _checked(name: str, transport: Any) -> Transport:
    if transport is None:
        raise TypeError("it implements no hook lxsandbox_transport")
    if not isinstance(transport, Transport):
        raise TypeError(f"its {type(transport).__name__} lacks one of name, parse(rest, base), fetch(reference, context)")
    if transport.name != name:
        raise TypeError(f"its transport is named {transport.name!r}, and its entry point {name!r}")
    for method in (transport.parse, transport.fetch):
        try:
            inspect.signature(method).bind(None, None)
        except TypeError as error:
            raise TypeError(f"its {method.__name__} takes no two arguments: {error}") from None
    return transport


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else f"of {point.value}"
