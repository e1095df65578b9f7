"""Transports are plug-ins: any distribution may add one, and none that is broken stands in the way of another."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lxsandbox import ImageError
from lxsandbox.images.blobs import Blobs
from lxsandbox.images.documents import MANIFEST_TYPE, Descriptor, Platform
from lxsandbox.images.references import PARSERS, HostReference, Reference, parse_reference
from lxsandbox.images.transports import FetchContext, Transport, Transports

# A plug-in as its author would write it.
GOOD = """
from dataclasses import dataclass
from lxsandbox.images.documents import MANIFEST_TYPE, Descriptor
from lxsandbox.images.transports import hookimpl

@dataclass(frozen=True)
class DiskReference:
    path: str
    transport: str = "qcow2"

    def __str__(self):
        return f"qcow2:{self.path}"

    familiar = __str__

class Disks:
    name = "qcow2"

    def parse(self, rest, base):
        return DiskReference(f"{base}/{rest}")

    def fetch(self, reference, context):
        data = str(reference).encode()
        return Descriptor(media_type=MANIFEST_TYPE, digest=context.blobs.add(data), size=len(data))

@hookimpl
def lxsandbox_transport():
    return Disks()
"""

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """`install(distribution, code, transport="qcow2")`: a distribution with a module of `code` and an entry point to it."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)

    def install(distribution: str, code: str, transport: str = "qcow2") -> None:
        module = distribution.replace("-", "_")
        (site / f"{module}.py").write_text(code)
        monkeypatch.setitem(sys.modules, module, None)  # so that what a test has imported goes with it
        del sys.modules[module]
        info = site / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[lxsandbox.transports]\n{transport} = {module}\n")

    return install


@pytest.fixture
def context(tmp_path: Path) -> FetchContext:
    return FetchContext(
        blobs=Blobs(str(tmp_path / "store")), platform=Platform(architecture="amd64"), progress=lambda blob, done_bytes: None
    )


def test_an_installed_transport_reads_and_fetches_its_references(install: Install, context: FetchContext) -> None:
    install("disk-images", GOOD)
    transports = Transports()

    reference = transports.parse("qcow2:disk", base="/srv")
    descriptor = transports.fetch(reference, context)

    assert (str(reference), reference.transport) == ("qcow2:/srv/disk", "qcow2")
    assert context.blobs.read(descriptor.digest, at_most=100) == b"qcow2:/srv/disk"
    assert "qcow2" in transports.names()
    assert isinstance(transports.named("qcow2"), Transport)


def test_without_it_the_same_text_is_an_image_in_a_registry() -> None:
    assert str(Transports().parse("qcow2:disk")) == "docker.io/library/qcow2:disk"


def test_the_choices_that_users_are_told_have_it_too(install: Install) -> None:
    install("disk-images", GOOD)

    with pytest.raises(ImageError) as caught:
        Transports().parse("none:/x")

    assert caught.value.hint.endswith(", qcow2:…")


BROKEN = {
    "raise RuntimeError('no disk')": "RuntimeError: no disk",
    "import no_such_module": "No module named 'no_such_module'",
    "def (": "SyntaxError",
    "": "implements no hook lxsandbox_transport",
    GOOD.replace("return Disks()", "return None"): "implements no hook lxsandbox_transport",
    GOOD.replace("return Disks()", "return 1 / 0"): "ZeroDivisionError",
    GOOD.replace("def lxsandbox_transport()", "def lxsandbox_transport(name)"): "PluginValidationError",
    GOOD.replace("def fetch", "def get"): "Disks lacks one of name, parse(rest, base), fetch(reference, context)",
    GOOD.replace("def fetch(self, reference, context)", "def fetch(self, reference)"): "its fetch takes no two arguments",
    GOOD.replace('name = "qcow2"', 'name = "tar"'): "its transport is named 'tar', and its entry point 'qcow2'",
}


@pytest.mark.parametrize(("code", "said"), BROKEN.items(), ids=range(len(BROKEN)))
def test_a_broken_one_is_named_and_hinders_no_other(install: Install, context: FetchContext, code: str, said: str) -> None:
    install("bad-disks", code)
    install("good-disks", GOOD.replace('"qcow2"', '"vmdk"'), "vmdk")
    transports = Transports()

    for _ in range(2):  # asked again it says the same
        with pytest.raises(ImageError) as caught:
            transports.parse("qcow2:disk")
        assert "transport qcow2 of distribution bad-disks is broken" in caught.value.message
        assert said in caught.value.message
        assert "bad-disks" in caught.value.hint
    assert str(transports.parse("alpine")) == "docker.io/library/alpine:latest"
    assert transports.fetch(transports.parse("vmdk:disk"), context).media_type == MANIFEST_TYPE


def test_a_name_that_two_distributions_have_is_refused(install: Install) -> None:
    install("disks-two", GOOD)
    install("disks-one", GOOD)
    transports = Transports()

    with pytest.raises(ImageError, match="qcow2 is of distribution disks-one and of distribution disks-two"):
        transports.parse("qcow2:disk")
    assert str(transports.parse("dir:/")) == "dir:/"


@pytest.mark.parametrize(("name", "text"), [("tar", "tar:/x"), ("docker", "docker://alpine"), ("host", "host:x")])
def test_no_distribution_can_take_the_place_of_a_built_in_one(install: Install, name: str, text: str) -> None:
    install("evil-disks", GOOD, name)
    transports = Transports()

    with pytest.raises(ImageError, match=f"transport {name} is of lxsandbox itself and of distribution evil-disks"):
        transports.parse(text)
    assert transports.parse("host") == HostReference()
    assert str(transports.parse("oci:/", must_exist=False)) == "oci:/"


def test_no_plug_in_is_imported_before_it_is_asked_for(install: Install) -> None:
    install("disk-images", GOOD)
    transports = Transports()

    transports.parse("alpine")
    assert "disk_images" not in sys.modules
    transports.parse("qcow2:disk")
    assert "disk_images" in sys.modules


def test_built_in_transports_are_plug_ins_that_read_as_ever() -> None:
    transports = Transports()

    assert transports.names() == sorted(PARSERS)
    assert all(isinstance(transports.named(name), Transport) and transports.named(name).name == name for name in PARSERS)
    for text in ("host", "alpine", "docker://alpine", "dir:/", "oci:/:v", "build:/", "mmdebstrap:sid?include=hello"):
        assert transports.parse(text) == parse_reference(text)


def test_what_fetches_for_a_built_in_one_is_registered_by_its_name(context: FetchContext) -> None:
    asked: list[tuple[Reference, FetchContext]] = []

    def fetch(reference: Reference, context: FetchContext) -> Descriptor:
        asked.append((reference, context))
        return Descriptor(media_type=MANIFEST_TYPE, digest=context.blobs.add(b"{}"), size=2)

    transports = Transports({"docker": fetch})
    reference = transports.parse("alpine")

    assert context.blobs.has(transports.fetch(reference, context).digest)
    assert asked == [(reference, context)]


def test_one_with_nothing_that_fetches_is_refused(context: FetchContext) -> None:
    transports = Transports()

    with pytest.raises(ImageError, match="images of transport oci cannot be made"):
        transports.fetch(transports.parse("oci:/"), context)
    with pytest.raises(ImageError, match="there is no transport 'host'"):
        transports.fetch(HostReference(), context)


def test_what_is_registered_for_no_transport_is_an_error_of_ours() -> None:
    with pytest.raises(ValueError, match="no built-in transport dokcer"):
        Transports({"dokcer": lambda reference, context: pytest.fail("asked")})


def test_a_policy_that_is_none_is_refused(context: FetchContext) -> None:
    with pytest.raises(ImageError, match="pull policy 'sometimes' is none"):
        FetchContext(blobs=context.blobs, platform=context.platform, progress=context.progress, pull="sometimes")  # type: ignore[arg-type]


def test_the_service_loads_neither_for_the_hosts_own_files() -> None:
    # Both take tens of milliseconds, which would be part of the first sandbox of each run.
    code = "import sys, lxsandbox.service.__main__; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert "lxsandbox.service.images" in loaded
    assert not {"lxsandbox.images.transports", "lxsandbox.images.references", "pluggy"} & set(loaded)
    assert not {"lxsandbox.images.compression", "lxsandbox.images.store", "isal", "zstandard"} & set(loaded)
