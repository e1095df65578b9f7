"""Images in an OCI image layout, a folder or an archive of it.

Source: image-spec v1.1, image-layout.md and annotations.md. Tags are the `org.opencontainers.image.ref.name` of the entries in
index.json; containerd and Docker write the whole name beside it, which is taken as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from lxsandbox.errors import ImageError
from lxsandbox.images.archives.manifests import check_layer_count
from lxsandbox.images.archives.sources import FolderSource, Source, blocks_of, copy_blob, listed, read_document
from lxsandbox.images.archives.tar_source import TarSource
from lxsandbox.images.blobs import Blobs
from lxsandbox.images.config import parse_config
from lxsandbox.images.digests import hasher_for
from lxsandbox.images.documents import (
    INDEX_TYPE,
    INDEX_TYPES,
    LARGEST_DOCUMENT_BYTES,
    Descriptor,
    Index,
    Manifest,
    Platform,
    load_object,
    parse_manifest,
)  # fmt: skip
from lxsandbox.images.platforms import candidates, suitable

__all__ = ["LAYOUT_FILE", "LAYOUT_VERSION", "TAG", "blob_entry", "check_layout_version", "read_oci_archive", "read_oci_layout"]

LAYOUT_FILE, LAYOUT_VERSION = "oci-layout", "1.0.0"
TAG = "org.opencontainers.image.ref.name"
_FULL_NAME = "io.containerd.image.name"
_MOST_INDEXES = 100  # one within another and beside each other: real images have one or two


def read_oci_layout(folder: str, blobs: Blobs, *, platform: Platform, tag: str = "") -> Descriptor:
    """Store the image that the layout in `folder` calls `tag`, or its only one, for `platform` where it has several.

    Returns the descriptor of its manifest. Raises ImageError.
    """
    return _read(FolderSource(folder), blobs, platform, tag)


def read_oci_archive(file: str, blobs: Blobs, *, platform: Platform, tag: str = "") -> Descriptor:
    """The same from a tar of a layout, plain or compressed."""
    with TarSource(file) as source:
        return _read(source, blobs, platform, tag)


def blob_entry(digest: str) -> str:
    """Where a layout has the blob of that digest, a checked one."""
    algorithm, _, encoded = digest.partition(":")
    return f"blobs/{algorithm}/{encoded}"


def check_layout_version(data: bytes, what: str) -> None:
    """Raises ImageError unless the layout is of the version that there is."""
    version = load_object(data, what).get("imageLayoutVersion")
    if version != LAYOUT_VERSION:
        raise ImageError(f"{what} has version {version!r:.100}, and only {LAYOUT_VERSION} is known")


def _read(source: Source, blobs: Blobs, platform: Platform, tag: str) -> Descriptor:
    check_layout_version(read_document(source, LAYOUT_FILE), f"{source.name}: {LAYOUT_FILE}")
    index = parse_manifest(read_document(source, "index.json"), media_type=INDEX_TYPE, what=f"{source.name}: index.json")
    if not isinstance(index, Index):
        raise ImageError(f"{source.name}: index.json is no index")
    entry = _Choice(source, platform).among(_tagged(source, index, tag))
    return _take_in(source, blobs, entry)


def _tagged(source: Source, index: Index, tag: str) -> list[Descriptor]:
    """The entries that are meant: one image, or several of one name for a platform each."""
    names = sorted({_name(entry) for entry in index.manifests} - {""})
    if tag:
        tagged = [entry for entry in index.manifests if tag in (entry.annotations.get(TAG), entry.annotations.get(_FULL_NAME))]
        if not tagged:
            raise ImageError(f"{source.name} has no image {tag!r:.100}", hint=f"there are {listed(names) or 'none with a tag'}")
        return tagged
    if len({_name(entry) for entry in index.manifests}) > 1:
        raise ImageError(f"{source.name} has several images", hint=f"name one of {listed(names)} after it, as in PATH:TAG")
    return list(index.manifests)


def _name(entry: Descriptor) -> str:
    return entry.annotations.get(TAG) or entry.annotations.get(_FULL_NAME, "")


class _Choice:
    """Looking for the image for a platform, through indexes within indexes; each of them is looked at once."""

    def __init__(self, source: Source, platform: Platform) -> None:
        self._source = source
        self._platform = platform
        self._seen: set[str] = set()
        self._others: list[str] = []

    def among(self, entries: Sequence[Descriptor]) -> Descriptor:
        """The manifest's descriptor. Raises ImageError that lists what there is instead."""
        if len(entries) == 1 and candidates(entries):
            return entries[0]  # the only one there is: asked for by name, whatever it runs on
        found = self._search(entries)
        if found is None:
            there = listed(sorted(set(self._others))) or "none"
            raise ImageError(f"{self._source.name} has no image for {self._platform}", hint=f"there are images for {there}")
        return found

    def _search(self, entries: Sequence[Descriptor]) -> Descriptor | None:
        found = suitable(entries, self._platform)
        if found is not None:
            return found
        self._others += [str(image.platform) for image in candidates(entries) if image.platform]
        for nested in self._nested(entries):
            found = self._search(nested.manifests)
            if found is not None:
                return found
        return None

    def _nested(self, entries: Iterable[Descriptor]) -> Iterator[Index]:
        for entry in entries:
            if entry.media_type in INDEX_TYPES and entry.digest not in self._seen:
                self._seen.add(entry.digest)
                if len(self._seen) > _MOST_INDEXES:
                    raise ImageError(f"{self._source.name} has more than {_MOST_INDEXES} indexes within indexes")
                document = _parse(self._source, entry, _verified(self._source, entry))
                if isinstance(document, Index):
                    yield document


def _take_in(source: Source, blobs: Blobs, entry: Descriptor) -> Descriptor:
    """Store the image. Its manifest comes last: where that is, everything is."""
    what = _entry_name(source, entry)
    manifest = _parse(source, entry, _document(source, blobs, entry))
    if not isinstance(manifest, Manifest):
        raise ImageError(f"{what} is an index, and {entry.media_type} was said of it")
    config = parse_config(_document(source, blobs, manifest.config), what=_entry_name(source, manifest.config))
    check_layer_count(manifest, config, what)
    missing = [each for each in (manifest.config, *manifest.layers) if not _is_there(source, blobs, each)]
    for each in sorted(missing, key=lambda each: source.position(blob_entry(each.digest))):
        _copy(source, blobs, each)
    if not _is_there(source, blobs, entry):
        _copy(source, blobs, entry)
    return Descriptor(media_type=manifest.media_type, digest=entry.digest, size=entry.size, platform=config.platform)


def _is_there(source: Source, blobs: Blobs, entry: Descriptor) -> bool:
    if not blobs.has(entry.digest):
        return False
    _check_size(source, entry, blobs.size(entry.digest))
    return True


def _copy(source: Source, blobs: Blobs, entry: Descriptor) -> None:
    _check_size(source, entry, source.size(blob_entry(entry.digest)))
    blocks = blocks_of(source, blob_entry(entry.digest))
    copy_blob(blobs, entry.digest, entry.size, blocks, _entry_name(source, entry))


def _document(source: Source, blobs: Blobs, entry: Descriptor) -> bytes:
    """A document from the store, or else from the source."""
    if blobs.has(entry.digest):
        return blobs.read(entry.digest, at_most=LARGEST_DOCUMENT_BYTES)
    return _verified(source, entry)


def _parse(source: Source, entry: Descriptor, data: bytes) -> Manifest | Index:
    return parse_manifest(data, media_type=entry.media_type, what=_entry_name(source, entry))


def _verified(source: Source, entry: Descriptor) -> bytes:
    """A document that is what its digest says. Raises ImageError."""
    _check_size(source, entry, source.size(blob_entry(entry.digest)))
    data = read_document(source, blob_entry(entry.digest))
    hasher = hasher_for(entry.digest)
    hasher.update(data)
    if hasher.hexdigest() != entry.digest.partition(":")[2]:
        raise ImageError(f"{_entry_name(source, entry)} is not what its digest says", hint="the image is damaged: make it again")
    return data


def _check_size(source: Source, entry: Descriptor, size: int) -> None:
    if size != entry.size:
        raise ImageError(f"{_entry_name(source, entry)} is of {size} bytes, and was said to have {entry.size}")


def _entry_name(source: Source, entry: Descriptor) -> str:
    return f"{source.name}: {blob_entry(entry.digest)}"
