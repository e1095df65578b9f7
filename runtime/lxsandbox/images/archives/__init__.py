"""Images from files and to files: OCI layouts, their archives, what `docker save` writes, and bare file systems.

Reading ends with the image in the store, all of it verified, and gives the descriptor of its manifest. Nothing is unpacked.
"""

from lxsandbox.images.archives.docker_archive import read_docker_archive
from lxsandbox.images.archives.docker_export import export_docker_archive
from lxsandbox.images.archives.imports import import_dir, import_stream, import_tar
from lxsandbox.images.archives.layout import read_oci_archive, read_oci_layout
from lxsandbox.images.archives.layout_export import export_layout, export_oci_archive

__all__ = [
    "export_docker_archive",
    "export_layout",
    "export_oci_archive",
    "import_dir",
    "import_stream",
    "import_tar",
    "read_docker_archive",
    "read_oci_archive",
    "read_oci_layout",
]
