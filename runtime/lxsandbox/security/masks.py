"""Paths of the kernel's own file systems that a sandbox does not see, or sees read-only.

The lists only; how a path is covered safely when the image has put something in its place is up to `rootfs`.
A path that this kernel does not have is skipped there.
"""

__all__ = ["MASKED", "READ_ONLY"]

# Files are covered by /dev/null, folders by an empty read-only tmpfs. They show or steer what belongs to the whole host.
MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)

READ_ONLY = (
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
)
