"""References to a Debian system that `mmdebstrap` makes: suite, packages, and where they come from.

Everything in one becomes an argument of mmdebstrap or apt, so each part is checked against the grammar that Debian has for it;
mmdebstrap(1) would take a package `./file`, `name-` or `?pattern`, and a mirror that is a file or a line of sources.list(5).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from lxsandbox.errors import ImageError
from lxsandbox.images.registry_reference import check_host

__all__ = ["DebianReference", "parse_debian_reference"]

# mmdebstrap(1), VARIANTS, without `extract` and `custom`, which are no systems that run.
_VARIANTS = ("apt", "buildd", "debootstrap", "essential", "important", "minbase", "required", "standard")
_OPTIONS = ("check-valid-until", "components", "include", "mirror", "variant")

_SUITE = re.compile(r"[a-z][a-z0-9.-]*")  # deb822 Release files: one word; below dists/ Debian has lower case alone
_COMPONENT = re.compile(r"[a-z][a-z0-9-]*")
# Debian Policy 5.6.1. A last '-' would ask apt for its removal, and no package has one.
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]*[a-z0-9+.]")
_MIRROR = re.compile(r"(https?)://([^/@]+)((?:/[A-Za-z0-9._~+-]+)*)/*", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class DebianReference:
    """A system of `suite` with the packages `include`; equal sets of packages in whatever order are equal references.

    `mirror` is empty for the one that mmdebstrap itself would take. `check_valid_until=False` takes suites whose Release file
    has run out. Raises ImageError for what Debian has no such name for.
    """

    transport: Literal["mmdebstrap"] = field(default="mmdebstrap", init=False)

    suite: str
    include: tuple[str, ...] = ()
    variant: str = "minbase"
    components: tuple[str, ...] = ("main",)
    mirror: str = ""
    check_valid_until: bool = True

    def __post_init__(self) -> None:
        _check("suite", self.suite, _SUITE, hint="write it as mmdebstrap:bookworm")
        for name in self.include:
            _check("package", name, _PACKAGE, hint="a name of two or more of a-z, 0-9, '+', '.', '-' (Debian Policy 5.6.1)")
        for name in self.components or ("",):
            _check("component", name, _COMPONENT, hint="write for example components=main,contrib")
        if self.variant not in _VARIANTS:
            raise ImageError(f"variant {self.variant!r} is none of mmdebstrap", hint=_nearest(self.variant, _VARIANTS))
        object.__setattr__(self, "include", tuple(sorted(set(self.include))))
        object.__setattr__(self, "components", tuple(sorted(set(self.components))))
        object.__setattr__(self, "mirror", _checked_mirror(self.mirror) if self.mirror else "")

    def __str__(self) -> str:
        return self._text(f"components={','.join(self.components)}", f"variant={self.variant}")

    def familiar(self) -> str:
        """The short text that users write, which is read back as the same reference."""
        components = "" if self.components == ("main",) else f"components={','.join(self.components)}"
        return self._text(components, "" if self.variant == "minbase" else f"variant={self.variant}")

    def _text(self, *parts: str) -> str:
        include = f"include={','.join(self.include)}" if self.include else ""
        mirror = f"mirror={self.mirror}" if self.mirror else ""
        check = "" if self.check_valid_until else "check-valid-until=no"
        query = "&".join(sorted(filter(None, (*parts, include, mirror, check))))
        return f"mmdebstrap:{self.suite}" + (f"?{query}" if query else "")


def parse_debian_reference(rest: str) -> DebianReference:
    """The reference that `mmdebstrap:` and `rest` are, `SUITE[?NAME=VALUE[&NAME=VALUE…]]`. Raises ImageError."""
    suite, mark, query = rest.partition("?")
    given = _options(query.split("&")) if mark else {}
    check = given.get("check-valid-until", "yes")
    if check not in ("yes", "no"):
        raise ImageError(f"check-valid-until={check!r} is neither yes nor no")
    if given.get("mirror") == "":
        raise ImageError("mirror= is empty", hint="write mirror=http://deb.debian.org/debian, or leave it out")
    return DebianReference(
        suite=suite,
        include=tuple(given["include"].split(",")) if "include" in given else (),
        variant=given.get("variant", "minbase"),
        components=tuple(given.get("components", "main").split(",")),
        mirror=given.get("mirror", ""),
        check_valid_until=check == "yes",
    )


def _options(parts: Iterable[str]) -> dict[str, str]:
    given: dict[str, str] = {}
    for part in parts:
        name, equals, value = part.partition("=")
        if name not in _OPTIONS or not equals:
            raise ImageError(f"option {part!r:.100} is none of mmdebstrap:", hint=_nearest(name, [f"{o}=…" for o in _OPTIONS]))
        if name in given:
            raise ImageError(f"option {name}= is given twice", hint=f"join them with a comma: {name}={given[name]},{value}")
        given[name] = value
    return given


def _check(what: str, text: str, grammar: re.Pattern[str], *, hint: str) -> None:
    if not grammar.fullmatch(text):
        strange = re.search(r"[^a-z0-9+.-]", text)
        fault = f"has {strange[0]!r}" if strange else "is no name" if text else "is empty"
        raise ImageError(f"{what} {text!r:.100} {fault}", hint=hint)


def _checked_mirror(text: str) -> str:
    found = _MIRROR.fullmatch(text)
    if found is None:
        raise ImageError(
            f"mirror {text!r:.200} is not an http or https address of a folder",
            hint="write it as mirror=http://deb.debian.org/debian, with no query, user or password",
        )
    return f"{found[1].lower()}://{check_host(found[2])}{found[3]}"


def _nearest(text: str, choices: Iterable[str]) -> str:
    known = list(choices)
    near = difflib.get_close_matches(text, known, n=1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
