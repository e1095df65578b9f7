"""Images in OCI and Docker registries: pulled and pushed over HTTP, with nothing believed that its digest does not vouch for.

What a reference means, and whether the network may be used at all, is decided by callers.
"""

from lxsandbox.images.platforms import host_platform
from lxsandbox.images.registry.client import Registry
from lxsandbox.images.registry.credentials import Credentials, CredentialSource, find_credentials
from lxsandbox.images.registry.failures import RegistryError
from lxsandbox.images.registry.patience import Patience
from lxsandbox.images.registry.progress import Progress
from lxsandbox.images.registry.pull import pull_image
from lxsandbox.images.registry.push import push_image
from lxsandbox.images.registry.resolve import resolve_image

__all__ = [
    "CredentialSource", "Credentials", "Patience", "Progress", "Registry", "RegistryError",
    "find_credentials", "host_platform", "pull_image", "push_image", "resolve_image",
]  # fmt: skip
