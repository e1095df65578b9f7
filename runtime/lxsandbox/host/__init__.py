"""What this host can do, each capability proven by doing it in a process of its own."""

from lxsandbox.host.capability import NAMES, REQUIRED, Capability
from lxsandbox.host.probes import probe

__all__ = ["NAMES", "REQUIRED", "Capability", "probe"]
