"""Where images are kept: blobs by digest in an OCI image layout, names for them, and their layers unpacked.

Names reach manifests, manifests reach blobs and layers; leases hold what live processes use. All else may be removed.
"""

from lxsandbox.images.store.folder import cache_folder, cache_size
from lxsandbox.images.store.layers import layer_key
from lxsandbox.images.store.leases import Lease
from lxsandbox.images.store.names import check_name
from lxsandbox.images.store.prune import Pruned, Usage
from lxsandbox.images.store.store import Sizes, Store
from lxsandbox.images.store.tar_roots import root_of_tar

__all__ = ["Lease", "Pruned", "Sizes", "Store", "Usage", "cache_folder", "cache_size", "check_name", "layer_key", "root_of_tar"]
